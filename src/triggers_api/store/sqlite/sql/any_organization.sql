SELECT 1 FROM organizations WHERE deleted_at IS NULL LIMIT 1
