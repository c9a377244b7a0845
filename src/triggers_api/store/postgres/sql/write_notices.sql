INSERT INTO notices (organization_id, noticed_at, body)
SELECT n.organization_id, n.noticed_at, n.body
FROM unnest($1::uuid[], $2::bigint[], $3::bytea[]) AS n (organization_id, noticed_at, body)
