SELECT s.id, r.started_at, r.writer, r.body
FROM unnest($2::uuid[]) AS s (id)
CROSS JOIN LATERAL (
    SELECT r.started_at, r.writer, r.body
    FROM rollups AS r
    WHERE r.organization_id = $1 AND r.subscription_id = s.id AND r.step_s = $3 AND r.started_at >= $4
    ORDER BY r.started_at
) AS r
WHERE s.id <> '00000000-0000-0000-0000-000000000000'
