DELETE FROM event_failures WHERE event_id IN carray(?1)
