-- What is due lies by line: first attempts, and what comes after them. What waits for one subscription lies
-- by organization, so that a look goes past an organization, or past what is paused, in one step.
UPDATE deliveries INDEXED BY deliveries_due SET priority = 1 WHERE due_at IS NOT NULL AND attempt_count > 0;
DROP INDEX deliveries_due;
CREATE INDEX deliveries_due ON deliveries (priority, due_at) WHERE due_at IS NOT NULL;
DROP INDEX deliveries_lane;
CREATE INDEX deliveries_lane ON deliveries (organization_id, subscription_id, priority, due_at)
    WHERE due_at IS NOT NULL;
CREATE INDEX subscriptions_active ON subscriptions (organization_id) WHERE state = 0;
