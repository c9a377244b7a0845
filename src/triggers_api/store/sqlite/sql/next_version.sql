UPDATE meta SET value = value + 1 WHERE name = 'settings_version' RETURNING value
