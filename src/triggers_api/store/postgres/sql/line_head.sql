-- The first of a line that is not finished.
SELECT q.delivery_id
FROM delivery_queue AS q
WHERE q.organization_id = $1 AND q.subscription_id = $2 AND q.order_key = $3
ORDER BY q.sequence
LIMIT 1
