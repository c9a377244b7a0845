SELECT max(id) FROM events INDEXED BY events_organization WHERE organization_id = ?1
