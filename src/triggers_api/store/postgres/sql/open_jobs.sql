SELECT count(*), min(greatest(due_at, lease_until)) FROM jobs WHERE status = 0
