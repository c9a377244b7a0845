INSERT INTO quotas (organization_id)
SELECT i.organization_id FROM unnest($1::uuid[]) AS i (organization_id) ORDER BY i.organization_id
ON CONFLICT (organization_id) DO NOTHING
