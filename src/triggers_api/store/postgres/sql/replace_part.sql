UPDATE search_parts
SET bits = $3, whole = $4, stale_at = CASE WHEN stale_at > $5 THEN stale_at END
WHERE organization_id = $1 AND number = $2
RETURNING number
