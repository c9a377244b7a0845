SELECT body FROM controls WHERE version > $1
