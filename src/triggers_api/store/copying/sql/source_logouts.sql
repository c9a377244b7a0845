SELECT session, expires_at FROM logouts
