-- Who holds these dedup_ids, as seen after the statement that met them: by place in the arrays.
SELECT i.place, e.id, e.deliver_at, s.status, q.event_id IS NOT NULL, e.payload = i.payload
FROM unnest($1::uuid[], $2::text[], $3::bytea[]) WITH ORDINALITY
     AS i (organization_id, dedup_id, payload, place)
JOIN events AS e ON e.organization_id = i.organization_id AND e.dedup_id = i.dedup_id
LEFT JOIN event_queue AS q ON q.organization_id = e.organization_id AND q.event_id = e.id
LEFT JOIN event_states AS s ON s.organization_id = e.organization_id AND s.event_id = e.id
