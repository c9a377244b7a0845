-- The last moment there is stands for a delivery that waits for another one: codes.PARKED.
SELECT least(
    (SELECT min(due_at) FROM delivery_queue WHERE priority = 0 AND due_at > $1 AND due_at < 140737488355327),
    (SELECT min(due_at) FROM delivery_queue WHERE priority = 1 AND due_at > $1 AND due_at < 140737488355327)
)
