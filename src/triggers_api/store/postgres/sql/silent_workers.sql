DELETE FROM workers WHERE seen_at < $1 AND number <> $2 RETURNING number, id
