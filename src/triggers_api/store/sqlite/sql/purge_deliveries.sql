DELETE FROM deliveries WHERE id IN carray(?1)
