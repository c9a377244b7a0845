UPDATE events SET operational = 1 WHERE id IN carray(?1)
