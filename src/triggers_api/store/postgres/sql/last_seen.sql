SELECT coalesce(max(seen_at), 0) FROM workers
