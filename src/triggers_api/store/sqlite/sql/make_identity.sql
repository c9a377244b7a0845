INSERT INTO meta (name, value) VALUES ('id_tail', ?1), ('settings_version', 0)
ON CONFLICT (name) DO NOTHING
