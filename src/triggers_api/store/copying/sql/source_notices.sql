SELECT id, organization_id, noticed_at, body FROM notices
