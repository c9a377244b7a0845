SELECT value FROM meta WHERE name = 'signing_key'
