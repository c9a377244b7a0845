import { address } from '../client.js';
import { outputFields, sample, typeField } from '../sample.js';

// Every 1 to 15 minutes. What Zapier has seen it knows by the id.
const perform = async (z, bundle) => {
  const type = encodeURIComponent(bundle.inputData.event_type);
  const response = await z.request({
    url: address(bundle, `/api/poll/${type}`),
    params: { limit: 100, page: bundle.meta?.page ?? 0 },
  });
  return response.data;
};

export default {
  key: 'polled_event',
  noun: 'Event',
  display: {
    label: 'New Event (Polling)',
    description:
      'Triggers when an event of a type has come in, for servers that cannot reach Zapier.',
  },
  operation: {
    type: 'polling',
    inputFields: [typeField],
    perform,
    sample,
    outputFields,
  },
};
