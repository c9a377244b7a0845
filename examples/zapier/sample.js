/** What every event has. Beside these are the fields of its payload, whatever they are. */
export const outputFields = [
  { key: 'id', label: 'Event ID', type: 'string' },
  { key: 'type', label: 'Event type', type: 'string' },
  { key: 'received_at', label: 'Received at', type: 'datetime' },
];

/** Shown where the server cannot be asked for a real one. */
export const sample = {
  id: 'evt_019b76daa80070008000000000000000',
  type: 'order.created',
  received_at: '2026-01-01T00:00:00.000Z',
  sample: true,
  message: 'No event of this type has come in yet.',
};

/** The field with which a user chooses what to be told of. */
export const typeField = {
  key: 'event_type',
  label: 'Event type',
  type: 'string',
  required: true,
  dynamic: 'event_type.id.name',
  helpText: 'A type such as `order.created`. `*` stands for any run of characters: `order.*`.',
};
