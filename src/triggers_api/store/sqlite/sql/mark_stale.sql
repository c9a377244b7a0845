UPDATE search_parts INDEXED BY search_parts_organization
SET stale_at = ?3
WHERE organization_id = ?1 AND last_id >= ?2 AND first_id <= ?2 AND stale_at IS NULL
