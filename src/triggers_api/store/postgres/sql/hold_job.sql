SELECT body FROM jobs WHERE organization_id = $1 AND id = $2 FOR UPDATE
