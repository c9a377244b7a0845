SELECT e.id, e.type, e.status, e.deliver_at
FROM carray(?2) AS c
CROSS JOIN events AS e ON e.id = c.value
WHERE e.organization_id = ?1 AND e.operational = 0
