SELECT body FROM event_types
WHERE organization_id = $1 AND name > $2 AND body IS NOT NULL
ORDER BY name
LIMIT $3
