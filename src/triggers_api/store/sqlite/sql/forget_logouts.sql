DELETE FROM logouts WHERE expires_at <= ?1
