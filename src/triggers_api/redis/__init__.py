"""A connection to Redis, or Valkey: what the ingest buffer and shared rate limits ask it with.

The wire format is hiredis'; it comes with the extra ``redis``. Nothing here knows what is asked.
"""
