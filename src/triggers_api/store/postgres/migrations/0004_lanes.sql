-- What is due lies by line: first attempts, and what comes after them. What waits for one subscription lies
-- by organization, so that a look goes past an organization, or past what is paused, in one step. Processes
-- of the version before find no index in their order any more: they work on, and sort what is due.
UPDATE delivery_queue AS q SET priority = 1
FROM deliveries AS d
WHERE d.organization_id = q.organization_id AND d.id = q.delivery_id AND d.attempt_count > 0;
DROP INDEX delivery_queue_due;
CREATE INDEX delivery_queue_due ON delivery_queue (priority, due_at, delivery_id);
DROP INDEX delivery_queue_lane;
CREATE INDEX delivery_queue_lane
    ON delivery_queue (organization_id, subscription_id, priority, due_at, delivery_id);
CREATE INDEX subscriptions_active ON subscriptions (organization_id, id) WHERE state = 0;
-- Last: where the planner sees no difference, as in a table that is empty still, it takes the newest index.
ALTER TABLE subscriptions DROP CONSTRAINT subscriptions_pkey;
ALTER TABLE subscriptions ADD PRIMARY KEY (organization_id, id);
ALTER TABLE delivery_queue DROP CONSTRAINT delivery_queue_pkey;
ALTER TABLE delivery_queue ADD PRIMARY KEY (organization_id, delivery_id);
