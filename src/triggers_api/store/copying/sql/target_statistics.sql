ANALYZE accounts, api_keys, attempts, dead_letters, deliveries, delivery_queue, event_queue, event_states,
        events, organizations, subscriptions
