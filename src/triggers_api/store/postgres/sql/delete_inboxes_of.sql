WITH deleted AS (DELETE FROM inboxes WHERE organization_id = $1 RETURNING organization_id, cursor)
INSERT INTO inbox_remains (organization_id, cursor) SELECT organization_id, cursor FROM deleted
