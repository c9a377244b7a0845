import { address } from '../client.js';

const perform = async (z, bundle) => {
  const { event_type: type, payload, dedup_id: dedupId, key } = bundle.inputData;
  const event = { type, payload: payload ?? {} };
  if (dedupId) {
    event.dedup_id = dedupId;
  }
  if (key) {
    event.key = key;
  }
  // 202, or 200 when an event with this dedup_id is there already: a step that is run again changes nothing.
  const response = await z.request({
    url: address(bundle, '/api/events'),
    method: 'POST',
    body: event,
  });
  return response.data;
};

export default {
  key: 'send_event',
  noun: 'Event',
  display: {
    label: 'Send Event',
    description: 'Sends an event, which is delivered to all who subscribed to its type.',
  },
  operation: {
    inputFields: [
      {
        key: 'event_type',
        label: 'Event type',
        type: 'string',
        required: true,
        helpText: 'Such as `order.created`: letters, digits and `_ . : / -`.',
      },
      { key: 'payload', label: 'Payload', dict: true, helpText: 'What happened, by name.' },
      {
        key: 'dedup_id',
        label: 'Deduplication ID',
        type: 'string',
        helpText: 'A second event with the same one is not stored. Choose something of the step before.',
      },
      {
        key: 'key',
        label: 'Key',
        type: 'string',
        helpText: 'Whom or what it is about: events with one key can be delivered in order.',
      },
    ],
    perform,
    sample: {
      id: 'evt_019b76daa80070008000000000000000',
      type: 'order.created',
      dedup_id: 'order-42',
      status: 'queued',
      duplicate: false,
      received_at: '2026-01-01T00:00:00.000Z',
    },
    outputFields: [
      { key: 'id', label: 'Event ID', type: 'string' },
      { key: 'duplicate', label: 'Was there already', type: 'boolean' },
    ],
  },
};
