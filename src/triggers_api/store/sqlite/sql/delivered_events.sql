SELECT DISTINCT event_id FROM deliveries INDEXED BY deliveries_once
WHERE event_id IN carray(?1) AND subscription_id = ?2
