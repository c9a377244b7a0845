-- As many rows as the other side's tables must have, by their names there.
SELECT (SELECT count(*) FROM organizations) AS organizations,
       (SELECT count(*) FROM api_keys) AS api_keys,
       (SELECT count(*) FROM subscriptions) AS subscriptions,
       (SELECT count(*) FROM controls) AS controls,
       (SELECT count(*) FROM accounts) AS accounts,
       (SELECT count(*) FROM events) AS events,
       (SELECT coalesce(sum(length(payload)), 0) FROM event_payloads) AS payload_bytes,
       (
           SELECT count(*) FROM events AS e
           WHERE status IN (3, 4, 5, 6) OR (status = 1 AND status_at IS NOT (
               SELECT min(d.id) >> 20 FROM deliveries AS d INDEXED BY deliveries_once
               WHERE d.event_id = e.id AND d.origin = 0
           ))
       ) AS event_states,
       (SELECT count(*) FROM event_queue) AS event_queue,
       (SELECT count(*) FROM deliveries) AS deliveries,
       (SELECT count(*) FROM deliveries WHERE due_at IS NOT NULL) AS delivery_queue,
       (SELECT count(*) FROM deliveries WHERE status = 6) AS dead_letters,
       (SELECT count(*) FROM attempts) AS attempts,
       (SELECT count(*) FROM order_keys) AS order_keys,
       (SELECT count(*) FROM endpoint_health) AS endpoint_health,
       (SELECT count(*) FROM event_types) AS event_types,
       (SELECT count(*) FROM switches) AS switches,
       (SELECT count(*) FROM farewells) AS farewells,
       (SELECT count(*) FROM jobs) AS jobs,
       (SELECT count(*) FROM notices) AS notices,
       (SELECT count(*) FROM rollups) AS rollups,
       (SELECT count(*) FROM inboxes) AS inboxes,
       (SELECT count(*) FROM inbox_items WHERE cursor IN (SELECT cursor FROM inboxes)) AS inbox_items,
       (SELECT count(*) FROM audit_entries) AS audit_entries,
       (SELECT count(*) FROM key_uses) AS key_uses,
       (SELECT count(*) FROM erasures) AS erasures
