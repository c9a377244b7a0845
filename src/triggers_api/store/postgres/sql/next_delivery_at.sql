SELECT min(due_at) FROM delivery_queue WHERE due_at > $1
