-- Nobody else has rows of this writer: there is nobody to wait for.
INSERT INTO rollups AS r (organization_id, subscription_id, step_s, started_at, writer, body)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $4::bigint[], $5::bigint[], $6::bytea[])
ON CONFLICT (organization_id, subscription_id, step_s, started_at, writer) DO UPDATE SET body = excluded.body
