-- A version that nobody who works here already has seen.
UPDATE settings_version SET version = greatest(version, $1) + 1 RETURNING version
