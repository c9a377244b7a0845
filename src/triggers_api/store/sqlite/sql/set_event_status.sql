UPDATE events SET status = ?1, status_at = ?2 WHERE id IN carray(?3)
