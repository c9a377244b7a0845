SELECT version FROM settings_version FOR UPDATE
