SELECT i.event_id, i.available_at, i.lease_token, i.receive_count
FROM carray(?2) AS c
CROSS JOIN inbox_items AS i ON i.cursor = ?1 AND i.event_id = c.value
