DELETE FROM events WHERE id IN carray(?1)
