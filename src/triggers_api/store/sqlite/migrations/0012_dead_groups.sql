-- Dead letters by subscription and what their last attempt came to, as model.outcome.error_class has it. A column
-- that is computed when it is read, or for the index; nothing is written for what is not dead.
ALTER TABLE deliveries ADD COLUMN error_class TEXT AS (
    CASE WHEN substr(reason, 1, 18) = 'receiver answered ' THEN substr(reason, 19, 3)
         WHEN instr(reason, ':') > 1 THEN substr(reason, 1, min(instr(reason, ':') - 1, 40))
         ELSE 'other' END
) VIRTUAL;
CREATE INDEX deliveries_dead_group ON deliveries (organization_id, subscription_id, error_class) WHERE status = 6;
