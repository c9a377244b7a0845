WITH old AS MATERIALIZED (
    SELECT organization_id, id FROM audit_entries WHERE id < $1 ORDER BY id LIMIT $2
    FOR UPDATE SKIP LOCKED
)
DELETE FROM audit_entries AS a USING old WHERE a.organization_id = old.organization_id AND a.id = old.id
