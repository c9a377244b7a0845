DELETE FROM rollups
WHERE (organization_id, subscription_id, step_s, started_at, writer) IN (
    SELECT organization_id, subscription_id, step_s, started_at, writer
    FROM rollups INDEXED BY rollups_age
    WHERE step_s = ?1 AND started_at < ?2
    LIMIT ?3
)
