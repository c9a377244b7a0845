INSERT INTO search_blocks (id, body)
VALUES (?, ?) /* rows */
