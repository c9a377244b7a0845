SELECT id, first_id, last_id, bits, whole
FROM search_parts INDEXED BY search_parts_organization
WHERE organization_id = :organization_id AND last_id > :after AND first_id < :before
ORDER BY last_id DESC /* or upward */
LIMIT :limit
