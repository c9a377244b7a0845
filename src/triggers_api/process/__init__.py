"""Routing: from an accepted event to one delivery for each subscription that wants it."""
