-- The queue behind a place, as claim_queue tells of it, whether or not it can be claimed now; and whether
-- it belongs to one of the organizations in ?5.
SELECT q.due_at, q.event_id, q.attempts, q.lease_token, e.organization_id, e.type, e.operational, e.key, e.status_at,
       e.organization_id IN carray(?5), q.lease_until <= ?1
FROM event_queue AS q
CROSS JOIN events AS e ON e.id = q.event_id
WHERE (q.due_at, q.event_id) > (?2, ?3) AND q.due_at <= ?1
ORDER BY q.due_at, q.event_id
LIMIT ?4
