SELECT body FROM switches WHERE organization_id = ?1 AND subscription_id = ?2
