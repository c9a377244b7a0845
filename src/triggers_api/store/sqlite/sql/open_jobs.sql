SELECT count(*), min(max(due_at, lease_until)) FROM jobs INDEXED BY jobs_due WHERE status = 0
