"""The embedded engine: SQLite through apsw, one process, one file.

Data structures
    ``events`` holds what happened in small rows, ``event_payloads`` the received bytes;
    ``event_queue`` one small row for each event still to be routed; ``deliveries`` one row for each
    event and subscription, in two partial indexes while something is still to happen to it (by due
    time, and by subscription and due time); ``attempts`` one row for each request made.

What is atomic
    Everything that waits when the writer thread comes round is one transaction and one ``fsync``:
    appends, claims, fan-outs and settlements alike (``writer.py``). An answer leaves after its
    commit.

What is lost
    A killed process loses nothing that was answered. A power cut loses nothing that was answered as
    long as file system and drive honour ``fdatasync`` (WAL with ``synchronous=FULL``). A lost disk
    loses what was written since the last backup.

What is slower
    One writer: commits do not run side by side. Reads do, each on a snapshot, in threads.
"""
