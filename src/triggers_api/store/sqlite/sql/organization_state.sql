SELECT deleted_at IS NOT NULL, body FROM organizations WHERE id = ?1
