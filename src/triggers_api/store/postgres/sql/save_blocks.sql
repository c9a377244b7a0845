INSERT INTO search_blocks (organization_id, part, number, body)
SELECT $1, $2, b.number, b.body
FROM unnest($3::integer[], $4::bytea[]) AS b (number, body)
