DELETE FROM attempts WHERE delivery_id IN carray(?1)
