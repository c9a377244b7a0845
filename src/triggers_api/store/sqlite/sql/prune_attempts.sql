DELETE FROM attempts WHERE id IN carray(?1)
