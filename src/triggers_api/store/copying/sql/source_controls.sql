SELECT body FROM controls
