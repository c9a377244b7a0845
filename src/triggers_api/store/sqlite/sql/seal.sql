UPDATE subscriptions SET secrets = ?3 WHERE id = ?1 AND secrets = ?2
