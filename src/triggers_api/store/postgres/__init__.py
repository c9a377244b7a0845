"""The engine for many processes: PostgreSQL ≥ 14 through asyncpg.

Every key leads with the organization. Hot verbs are one statement each, over arrays of rows: one round
trip, no explicit transaction, nothing that a pooler in transaction mode could not carry.

======================  ==============================================================================
module                  what
======================  ==============================================================================
``store``               the engine as a whole
``writer``              group commit: what waits is one statement, a few of them in flight
``sessions``            running something on a connection; what its failure means
``pool``                the connections: how many, for how long, checked before use
``connection``          one connection: its settings, what its server promises
``clock``               the database's time in this process
``replica``             reads beside the primary, as long as they miss nothing
``listener``            wake-ups between processes
``*_verbs``, ``reads``  what the statements in ``sql/`` are given and what comes of it
``schema``              migrations
======================  ==============================================================================
"""
