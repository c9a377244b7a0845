-- Whoever finds another note than the one it knows is not the only one here.
UPDATE meta SET value = $2 WHERE name = 'copy' AND value = $1 RETURNING name
