SELECT count(*) FROM jobs WHERE organization_id = $1 AND status = 0
