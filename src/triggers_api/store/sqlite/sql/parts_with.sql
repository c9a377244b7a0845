SELECT id, whole
FROM search_parts INDEXED BY search_parts_organization
WHERE organization_id = ?1 AND last_id >= ?2 AND first_id <= ?2
