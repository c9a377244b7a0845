UPDATE events SET payload = $3 WHERE organization_id = $1 AND id = $2
