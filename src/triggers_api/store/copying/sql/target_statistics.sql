ANALYZE accounts, api_keys, attempts, dead_letters, deliveries, delivery_queue, endpoint_health, event_queue,
        event_states, event_types, events, inbox_items, inboxes, jobs, notices, order_keys, organizations, rollups,
        subscriptions
