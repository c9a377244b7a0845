-- Dead letters by subscription and what their last attempt came to, as model.outcome.error_class has it.

-- Written when it dies, and of use only while it is dead. No column that is computed: an index over one of these
-- is never enough by itself, and counting would read every row.
ALTER TABLE deliveries ADD COLUMN error_class TEXT;
UPDATE deliveries
SET error_class = CASE WHEN substr(reason, 1, 18) = 'receiver answered ' THEN substr(reason, 19, 3)
                       WHEN instr(reason, ':') > 1 THEN substr(reason, 1, min(instr(reason, ':') - 1, 40))
                       ELSE 'other' END
WHERE status = 6;
CREATE INDEX deliveries_dead_group ON deliveries (organization_id, subscription_id, error_class) WHERE status = 6;
