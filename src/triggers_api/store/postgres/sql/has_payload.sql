SELECT payload IS NOT NULL FROM events WHERE organization_id = $1 AND id = $2
