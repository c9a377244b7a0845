-- Whether a settlement for one of these organizations may disable a subscription.
SELECT EXISTS (
    SELECT FROM endpoint_health
    WHERE organization_id = ANY ($1::uuid[]) AND failing_since <= $2 AND disabled_at IS NULL
)
