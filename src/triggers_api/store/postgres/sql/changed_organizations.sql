SELECT id, body, deleted_at FROM organizations WHERE version > $1
