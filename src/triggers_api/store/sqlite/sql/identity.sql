SELECT value FROM meta WHERE name = 'id_tail'
