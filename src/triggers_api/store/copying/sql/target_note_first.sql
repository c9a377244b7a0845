INSERT INTO meta (name, value) VALUES ('copy', $1)
