SELECT id FROM deliveries INDEXED BY deliveries_once WHERE event_id IN carray(?1)
