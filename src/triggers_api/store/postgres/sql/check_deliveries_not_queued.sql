SELECT d.id FROM deliveries AS d
WHERE d.status IN (2, 4) AND NOT EXISTS (
    SELECT FROM delivery_queue AS q WHERE q.organization_id = d.organization_id AND q.delivery_id = d.id
)
LIMIT $1
