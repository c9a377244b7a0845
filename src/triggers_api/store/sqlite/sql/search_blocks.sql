SELECT b.id, b.body
FROM carray(?1) AS c
CROSS JOIN search_blocks AS b ON b.id = c.value
