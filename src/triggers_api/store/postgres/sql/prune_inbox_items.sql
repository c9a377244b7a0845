DELETE FROM inbox_items
WHERE ctid = ANY (ARRAY(SELECT ctid FROM inbox_items WHERE organization_id = $1 AND cursor = $2 LIMIT $3))
