SELECT min(due_at) FROM delivery_queue WHERE due_at > $1 AND due_at < $2
