SELECT d.status, d.attempt_count, d.subscription_id, coalesce(q.lease_token <> 0, false),
       EXISTS (
           SELECT FROM event_states AS s
           WHERE s.organization_id = d.organization_id AND s.event_id = d.event_id AND s.status = 6
       ),
       s.state = 2, q.order_key
FROM deliveries AS d
JOIN subscriptions AS s ON s.organization_id = d.organization_id AND s.id = d.subscription_id
LEFT JOIN delivery_queue AS q ON q.organization_id = d.organization_id AND q.delivery_id = d.id
WHERE d.organization_id = $1 AND d.id = $2
FOR UPDATE OF d
