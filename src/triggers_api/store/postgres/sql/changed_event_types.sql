SELECT organization_id, name, body FROM event_types WHERE version > $1
