UPDATE event_types SET body = NULL, version = $3
WHERE organization_id = $1 AND name = $2 AND body IS NOT NULL
RETURNING name
