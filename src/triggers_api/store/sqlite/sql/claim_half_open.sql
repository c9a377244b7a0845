-- One probe at a time: the next one may be made when this one's lease has run out.
UPDATE endpoint_health SET open_until = ?1 WHERE subscription_id IN carray(?2)
