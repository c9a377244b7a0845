-- Whether an event is due or in somebody's hands, a delivery is in somebody's hands, or one is due that may be
-- sent now, for a subscription that is not in $2. What is in somebody's hands was due before what waits.
SELECT EXISTS (SELECT 1 FROM event_queue WHERE due_at <= $1)
    OR EXISTS (
        SELECT 1
        FROM (
            (
                SELECT lease_token FROM delivery_queue
                WHERE priority = 0 ORDER BY due_at, delivery_id LIMIT 10000
            )
            UNION ALL
            (
                SELECT lease_token FROM delivery_queue
                WHERE priority = 1 ORDER BY due_at, delivery_id LIMIT 10000
            )
        ) AS front
        WHERE lease_token <> 0
    )
    OR EXISTS (
        SELECT 1
        FROM subscriptions AS s
        WHERE s.state = 0 AND (s.expires_at IS NULL OR s.expires_at > $1) AND s.id <> ALL ($2::uuid[])
          AND NOT EXISTS (
              SELECT 1 FROM endpoint_health AS h
              WHERE h.organization_id = s.organization_id AND h.subscription_id = s.id
                AND h.opened > 0 AND h.open_until > $1
          )
          AND (
              EXISTS (
                  SELECT 1 FROM delivery_queue AS q
                  WHERE q.organization_id = s.organization_id AND q.subscription_id = s.id
                    AND q.priority = 0 AND q.due_at <= $1
              )
              OR EXISTS (
                  SELECT 1 FROM delivery_queue AS q
                  WHERE q.organization_id = s.organization_id AND q.subscription_id = s.id
                    AND q.priority = 1 AND q.due_at <= $1
              )
          )
    )
