SELECT value FROM meta WHERE name = 'copy'
