"""The ceiling of batches: their rows put into the embedded engine's tables, and nothing else."""

import sys
import time
from pathlib import Path
from typing import Final

import apsw

from triggers_api.bench.http1 import payloads
from triggers_api.store.sqlite import schema, tokens
from triggers_api.store.sqlite.connection import open_writer
from triggers_api.store.sqlite.tables import run_many

_TYPE: Final = "bench.bulk"
_ORGANIZATION: Final = 1


def insert(db: apsw.Connection, *, batches: int, size: int, payload_bytes: int) -> float:
    """Insert so many batches of so many rows, each durably committed; returns the seconds it took.

    The statements are the engine's own, as many rows at a time as it gives them.
    """
    bodies = payloads(payload_bytes, count=64, seed=0)
    now = time.time_ns() // 1_000_000
    number = now << 20
    began = time.perf_counter()
    for _ in range(batches):
        numbers = range(number, number + size)
        number += size
        with db:
            run_many(
                db,
                "append_events",
                [
                    (each, _ORGANIZATION, 0, now, _TYPE, None, None, None, None, None, None)
                    for each in numbers
                ],
                none=(0,) * 11,
            )
            payloads_of = [(each, bodies[each % 64]) for each in numbers]
            run_many(db, "append_payloads", payloads_of, none=(0,) * 2)
            queued = [(now, each, now, tokens.NOBODY, 0) for each in numbers]
            run_many(db, "append_queue", queued, none=(0,) * 5)
    return time.perf_counter() - began


def main() -> None:
    """A process of its own: the file to make, how many batches, their size, and that of payloads."""
    path, *numbers = sys.argv[1:]
    batches, size, payload_bytes = map(int, numbers)
    db = open_writer(Path(path))
    schema.migrate(db, now=0)
    insert(db, batches=2, size=size, payload_bytes=payload_bytes)
    seconds = insert(db, batches=batches, size=size, payload_bytes=payload_bytes)
    db.close()
    sys.stdout.write(f"{seconds}\n")


if __name__ == "__main__":
    main()
