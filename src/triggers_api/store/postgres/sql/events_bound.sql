-- The event at which a look over so many ends.
SELECT id
FROM events
WHERE organization_id = $1 AND id > $2 AND id < $3
ORDER BY id DESC /* or upward */
LIMIT 1 OFFSET $4
