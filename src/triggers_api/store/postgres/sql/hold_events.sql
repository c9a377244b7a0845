-- Nobody erases them, or makes deliveries of what was missed of them, until this transaction has ended.
SELECT FROM events WHERE organization_id = $1 AND id = ANY ($2::uuid[]) ORDER BY id FOR NO KEY UPDATE
