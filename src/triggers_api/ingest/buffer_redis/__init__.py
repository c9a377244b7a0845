"""Ingest by way of Redis Streams: accepted events wait there until they are in the database.

::

    producer     many requests' events in one round trip; durable when Redis says so
    consumer     the one that lands what waits, in its order, and lets go of it only then
    watch        how things stand: what waits, what it is worth, whether something has vanished
    buffer       the parts together, for whoever has events to put in or to look for

What is promised, and what is not, is in docs/decisions/0026-redis-buffer.md. Whatever has to be true at
one moment is one Lua function, ``lua/*.lua``.
"""
