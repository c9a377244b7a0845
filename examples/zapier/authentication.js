import { address } from './client.js';

// Any request that needs a key would do; this one also has the name for the label.
const test = async (z, bundle) => {
  const response = await z.request(address(bundle, '/api/organization'));
  return response.data;
};

export default {
  type: 'custom',
  fields: [
    {
      key: 'url',
      label: 'Server',
      type: 'string',
      required: true,
      placeholder: 'https://triggers.example.com',
      helpText: 'Where your Triggers API server is reached from the internet.',
    },
    {
      key: 'api_key',
      label: 'API key',
      type: 'password',
      required: true,
      helpText: "A key of your organization with the scopes `read`, `manage` and `ingest`.",
    },
  ],
  test,
  connectionLabel: '{{name}}',
};
