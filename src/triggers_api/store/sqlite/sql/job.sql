SELECT body FROM jobs WHERE id = ?1 AND organization_id = ?2
