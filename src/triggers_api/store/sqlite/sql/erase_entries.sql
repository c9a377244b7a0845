DELETE FROM audit_entries
WHERE id IN (SELECT id FROM audit_entries WHERE organization_id = ?1 LIMIT ?2)
