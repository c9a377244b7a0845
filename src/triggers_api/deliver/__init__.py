"""Sending: from a claimed delivery to a signed request and what came of it."""
