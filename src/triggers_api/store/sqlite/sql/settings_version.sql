SELECT value FROM meta WHERE name = 'settings_version'
