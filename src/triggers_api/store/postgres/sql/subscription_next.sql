-- When the first of what waits for a subscription, in either line, is or was due.
SELECT least(
    (
        SELECT q.due_at
        FROM delivery_queue AS q
        WHERE q.organization_id = $1 AND q.subscription_id = $2 AND q.priority = 0 AND q.due_at < $3
          AND q.lease_token = 0
        ORDER BY q.due_at
        LIMIT 1
    ),
    (
        SELECT q.due_at
        FROM delivery_queue AS q
        WHERE q.organization_id = $1 AND q.subscription_id = $2 AND q.priority = 1 AND q.due_at < $3
          AND q.lease_token = 0
        ORDER BY q.due_at
        LIMIT 1
    )
)
