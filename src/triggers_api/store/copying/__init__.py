"""From one engine to the other: everything in an embedded file, copied to a PostgreSQL database.

``source`` reads the file in batches, in the form that the database's tables have; ``target`` writes
them; ``copy`` does one with the other and compares what came of it.

What is atomic
    Records (events, deliveries, attempts) come first, batch by batch, each in one transaction with the
    note of how far the copy is: cut off anywhere, it goes on there. They are nobody's until the last
    transaction brings everything that makes them live: organizations, keys, subscriptions, what is
    queued and what is due. It is committed only when every table has as many rows on both sides and the
    books of all organizations are the same.

What keeps others away
    The file's owner lock for as long as it is read. On the other side the note: no process starts on a
    database that holds half a copy, and none that runs already finds anything in it to work on.
"""
