"""Accepting: from a request's bytes to a durable event."""
