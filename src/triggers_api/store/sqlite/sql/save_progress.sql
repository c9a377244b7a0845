INSERT INTO search_progress (organization_id, position) VALUES (?1, ?2)
ON CONFLICT (organization_id) DO UPDATE SET position = excluded.position
