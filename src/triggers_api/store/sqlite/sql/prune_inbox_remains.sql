DELETE FROM inbox_remains WHERE cursor = ?1
