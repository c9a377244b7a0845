SELECT min(due_at) FROM deliveries INDEXED BY deliveries_due WHERE due_at > ?1 AND due_at < ?2
