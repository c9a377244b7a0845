DELETE FROM event_payloads WHERE event_id IN carray(?1)
