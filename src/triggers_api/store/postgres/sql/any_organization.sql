SELECT EXISTS (SELECT FROM organizations WHERE deleted_at IS NULL)
