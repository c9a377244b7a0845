-- Which of these an event that was queued again has already.
WITH asked (event_id, subscription_id) AS (VALUES (?, ?) /* rows */)
SELECT a.event_id, a.subscription_id
FROM asked AS a
CROSS JOIN deliveries AS d INDEXED BY deliveries_once
     ON d.event_id = a.event_id AND d.subscription_id = a.subscription_id AND d.origin_id = 0
