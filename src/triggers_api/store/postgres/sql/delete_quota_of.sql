DELETE FROM quotas WHERE organization_id = $1
