INSERT INTO logouts (session, expires_at) VALUES (?1, ?2) ON CONFLICT (session) DO NOTHING
