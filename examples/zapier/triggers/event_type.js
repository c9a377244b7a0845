import { address } from '../client.js';

const asked = async (z, bundle, path) => {
  const response = await z.request({ url: address(bundle, path), skipThrowForStatus: true });
  if (response.status === 404) {
    return []; // a server that keeps no list of types
  }
  response.throwForStatus();
  return response.data.data;
};

// What is registered, and what has come in lately besides.
const perform = async (z, bundle) => {
  const [registered, recent] = await Promise.all([
    asked(z, bundle, '/api/event-types?limit=1000'),
    asked(z, bundle, '/api/events?limit=100'),
  ]);
  const types = new Map();
  for (const each of registered) {
    types.set(each.name, { id: each.name, name: each.name, description: each.description ?? '' });
  }
  for (const { type } of recent) {
    if (!types.has(type)) {
      types.set(type, { id: type, name: type, description: '' });
    }
  }
  return [...types.values()].sort((one, other) => (one.id < other.id ? -1 : 1));
};

export default {
  key: 'event_type',
  noun: 'Event Type',
  display: {
    label: 'List of Event Types',
    description: 'What there is to choose from in the other steps.',
    hidden: true,
  },
  operation: {
    type: 'polling',
    perform,
    sample: { id: 'order.created', name: 'order.created', description: 'Somebody ordered.' },
  },
};
