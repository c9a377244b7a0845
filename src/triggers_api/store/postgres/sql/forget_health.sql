DELETE FROM endpoint_health WHERE organization_id = $1 AND subscription_id = $2
