-- Dead letters by subscription and what their last attempt came to, as model.outcome.error_class has it. NULL in
-- both: made by a process of the version before, until the next sweep.
ALTER TABLE dead_letters ADD COLUMN subscription_id uuid;
ALTER TABLE dead_letters ADD COLUMN error_class text COLLATE "C";
UPDATE dead_letters AS l
SET subscription_id = d.subscription_id,
    error_class = CASE WHEN starts_with(d.reason, 'receiver answered ') THEN substr(d.reason, 19, 3)
                       WHEN strpos(d.reason, ':') > 1 THEN left(split_part(d.reason, ':', 1), 40)
                       ELSE 'other' END
FROM deliveries AS d
WHERE d.organization_id = l.organization_id AND d.id = l.delivery_id;
CREATE INDEX dead_letters_unsorted ON dead_letters (organization_id) WHERE subscription_id IS NULL;
CREATE INDEX dead_letters_group ON dead_letters (organization_id, subscription_id, error_class, delivery_id);
-- Last: where the planner sees no difference, as in a table that is empty still, it takes the newest index.
ALTER TABLE dead_letters DROP CONSTRAINT dead_letters_pkey;
ALTER TABLE dead_letters ADD PRIMARY KEY (organization_id, delivery_id);
