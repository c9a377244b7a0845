SELECT cursor FROM inbox_remains LIMIT 1
