SELECT organization_id, status, count(*) FROM deliveries GROUP BY organization_id, status
