-- The first organization from this one on that has events, known to the settings half or not.
SELECT organization_id
FROM events INDEXED BY events_organization
WHERE organization_id >= ?1
ORDER BY organization_id
LIMIT 1
