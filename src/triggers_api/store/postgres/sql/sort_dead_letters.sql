-- Of those that a process of the version before has made.
UPDATE dead_letters AS l
SET subscription_id = d.subscription_id,
    error_class = CASE WHEN starts_with(d.reason, 'receiver answered ') THEN substr(d.reason, 19, 3)
                       WHEN strpos(d.reason, ':') > 1 THEN left(split_part(d.reason, ':', 1), 40)
                       ELSE 'other' END
FROM deliveries AS d
WHERE l.ctid = ANY (ARRAY(
          SELECT ctid FROM dead_letters WHERE subscription_id IS NULL LIMIT $1 FOR UPDATE SKIP LOCKED
      ))
  AND d.organization_id = l.organization_id AND d.id = l.delivery_id
