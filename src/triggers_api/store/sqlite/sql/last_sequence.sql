SELECT max(
    coalesce((SELECT max(id) FROM events), 0),
    coalesce((SELECT max(id) FROM deliveries), 0),
    coalesce((SELECT max(id) FROM attempts), 0),
    coalesce((SELECT max(id) FROM organizations), 0),
    coalesce((SELECT max(id) FROM api_keys), 0),
    coalesce((SELECT max(id) FROM subscriptions), 0),
    coalesce((SELECT max(id) FROM jobs), 0),
    coalesce((SELECT max(id) FROM audit_entries), 0)
)
