DELETE FROM jobs AS j
USING unnest($1::uuid[], $2::uuid[]) AS old (organization_id, id)
WHERE j.organization_id = old.organization_id AND j.id = old.id AND j.status <> 0
