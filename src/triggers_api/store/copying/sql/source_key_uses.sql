SELECT key_id, used_at FROM key_uses
