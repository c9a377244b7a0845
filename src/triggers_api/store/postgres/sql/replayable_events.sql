SELECT e.id
FROM unnest($2::uuid[]) AS asked (id)
JOIN events AS e ON e.organization_id = $1 AND e.id = asked.id
WHERE NOT EXISTS (
    SELECT FROM event_states AS s WHERE s.organization_id = $1 AND s.event_id = asked.id AND s.status = 6
)
