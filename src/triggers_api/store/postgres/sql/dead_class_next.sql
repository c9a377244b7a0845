-- The next error class of a subscription's dead letters.
SELECT l.error_class
FROM dead_letters AS l
WHERE l.organization_id = $1 AND l.subscription_id = $2 AND l.error_class > $3
ORDER BY l.error_class
LIMIT 1
