-- In one order, so that two processes that write at once do not wait for each other's rows crosswise.
INSERT INTO key_uses AS u (key_id, used_at)
SELECT n.key_id, n.used_at
FROM unnest($1::uuid[], $2::bigint[]) AS n (key_id, used_at)
WHERE EXISTS (SELECT FROM api_keys AS k WHERE k.id = n.key_id)
ORDER BY n.key_id
ON CONFLICT (key_id) DO UPDATE SET used_at = greatest(u.used_at, excluded.used_at)
