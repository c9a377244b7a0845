DELETE FROM endpoint_health WHERE subscription_id = ?1
