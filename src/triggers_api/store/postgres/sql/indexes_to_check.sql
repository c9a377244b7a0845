SELECT c.oid, c.relname
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_am AS m ON m.oid = c.relam
WHERE i.indisvalid AND m.amname = 'btree' AND c.relnamespace = current_schema()::regnamespace
ORDER BY c.relname
