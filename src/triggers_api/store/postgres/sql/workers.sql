SELECT body FROM workers WHERE seen_at >= $1 ORDER BY number
