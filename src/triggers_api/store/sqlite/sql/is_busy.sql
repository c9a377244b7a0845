-- Whether an event is due or in somebody's hands, a delivery is in somebody's hands, or one is due that may be
-- sent now, for a subscription that is not in ?2.
SELECT EXISTS (SELECT 1 FROM event_queue WHERE due_at <= ?1)
    OR EXISTS (SELECT 1 FROM deliveries INDEXED BY deliveries_leased WHERE status = 3 AND lease_until > 0)
    OR EXISTS (
        SELECT 1
        FROM subscriptions AS s INDEXED BY subscriptions_active
        CROSS JOIN deliveries AS d INDEXED BY deliveries_lane
            ON d.organization_id = s.organization_id AND d.subscription_id = s.id
        WHERE s.state = 0 AND (s.expires_at IS NULL OR s.expires_at > ?1) AND s.id NOT IN carray(?2)
          AND d.due_at IS NOT NULL AND d.priority IN (0, 1) AND d.due_at <= ?1
          AND NOT EXISTS (
              SELECT 1 FROM endpoint_health AS h
              WHERE h.subscription_id = s.id AND h.opened > 0 AND h.open_until > ?1
          )
    )
