import { address } from '../client.js';
import { outputFields, sample, typeField } from '../sample.js';
import { isSigned } from '../signature.js';

// When the Zap is switched on. The answer is kept as bundle.subscribeData.
const performSubscribe = async (z, bundle) => {
  const response = await z.request({
    url: address(bundle, '/api/hooks'),
    method: 'POST',
    body: { target_url: bundle.targetUrl, event: bundle.inputData.event_type },
  });
  return response.data;
};

// When it is switched off. The server takes it as often as Zapier asks.
const performUnsubscribe = async (z, bundle) => {
  const { id } = bundle.subscribeData;
  await z.request({ url: address(bundle, `/api/hooks/${id}`), method: 'DELETE' });
  return {};
};

// When an event arrives: the body is the event.
const perform = async (z, bundle) => {
  const secret = bundle.subscribeData?.secret;
  if (secret && bundle.rawRequest?.content && !isSigned(bundle.rawRequest, secret)) {
    throw new z.errors.HaltedError('The event was not signed by your server.');
  }
  return [bundle.cleanedRequest];
};

// While the Zap is built: the newest events, in the very shape of those that will arrive.
const performList = async (z, bundle) => {
  const response = await z.request({
    url: address(bundle, '/api/hooks/samples'),
    params: { event_type: bundle.inputData.event_type, limit: 3 },
  });
  return response.data;
};

export default {
  key: 'event',
  noun: 'Event',
  display: {
    label: 'New Event',
    description: 'Triggers as soon as an event of a type comes in.',
  },
  operation: {
    type: 'hook',
    inputFields: [typeField],
    performSubscribe,
    performUnsubscribe,
    perform,
    performList,
    sample,
    outputFields,
  },
};
