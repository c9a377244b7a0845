INSERT INTO search_parts (organization_id, first_id, last_id, bits, whole, stale_at)
VALUES (?, ?, ?, ?, ?, ?)
RETURNING id
