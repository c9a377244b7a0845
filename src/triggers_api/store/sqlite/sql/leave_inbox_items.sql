INSERT INTO inbox_remains (cursor) VALUES (?1)
