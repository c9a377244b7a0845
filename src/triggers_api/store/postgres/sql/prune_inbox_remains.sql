DELETE FROM inbox_remains WHERE organization_id = $1 AND cursor = $2
