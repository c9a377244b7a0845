TRUNCATE events, event_states, deliveries, dead_letters, attempts
