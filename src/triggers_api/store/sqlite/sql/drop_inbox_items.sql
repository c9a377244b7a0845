DELETE FROM inbox_items WHERE cursor = ?1 AND event_id IN carray(?2)
