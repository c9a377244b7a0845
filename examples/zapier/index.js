import zapier from 'zapier-platform-core';
import packageJson from './package.json' with { type: 'json' };

import authentication from './authentication.js';
import { explainRefusal, identify } from './client.js';
import sendEvent from './creates/send_event.js';
import event from './triggers/event.js';
import eventType from './triggers/event_type.js';
import polledEvent from './triggers/polled_event.js';

export default {
  version: packageJson.version,
  platformVersion: zapier.version,
  authentication,
  beforeRequest: [identify],
  afterResponse: [explainRefusal],
  triggers: {
    [event.key]: event,
    [polledEvent.key]: polledEvent,
    [eventType.key]: eventType,
  },
  creates: {
    [sendEvent.key]: sendEvent,
  },
  flags: {
    // What was received is what the next step gets: texts are not trimmed.
    cleanInputData: false,
  },
};
