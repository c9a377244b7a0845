# ruff: noqa: INP001, T201
"""What filters cost: usual ones, and the worst that their bounds admit on a payload of 1 MiB.

    .venv/bin/python scripts/measure_filters.py

Prints milliseconds of CPU, the best of several runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from triggers_api.model.cel.program import compile_expression
from triggers_api.model.filter import _VARIABLES, STEP_LIMIT, EventView, compile_filter

USUAL: Final = (
    'payload.amount > 100 && metadata.env == "prod" && payload.items.exists(i, i.qty == 3)'
)
SMALL: Final = {
    "amount": 120,
    "currency": "EUR",
    "items": [{"sku": f"a{number}", "qty": number} for number in range(5)],
}
LARGE: Final = {
    "integers": {"a": [1] * 260_000, "s": "x" * 500_000},
    "objects": {"a": [{"k": number} for number in range(87_000)], "s": ""},
    "empty lists": {"a": [[]] * 340_000, "s": ""},
    "texts": {"a": ["é" * 6] * 50_000, "s": "é" * 100_000},
    "keys": {"a": {f"k{number:06}": 1 for number in range(80_000)}, "s": ""},
}
COSTLY: Final = (
    "payload.a.all(x, x == x)",
    "payload.a.all(x, !!!!!!!!!!(x == x))",
    "payload.a.all(x, x < 3 || true)",
    "payload.a.all(x, int('123') + 1 > 2)",
    "payload.a.exists(x, payload.missing)",
    f"payload.a.exists(x, {' || '.join(['payload.missing'] * 60)})",
    "payload.a.exists(x, payload.a.exists(y, payload.a.exists(z, y == z && x == 3)))",
    "payload.a.exists(x, x in payload.a)",
    "1.5 in payload.a",
    " && ".join(["payload.a == payload.a"] * 40),
    "payload.a.exists(x, payload.a == payload.a && false)",
    "payload.a.map(x, payload.a + payload.a).size() == 1",
    'payload.a.map(x, payload.s + "a").size() == 1',
    "payload.a.filter(x, true).map(x, [x, x, x]).size() == 1",
    *(
        f"payload.a.all(x, payload.s.contains('{part}') || true)"
        for part in (
            "y",
            "é" * 900 + "x",
            "x" + "é" * 900,
            "é" * 450 + "x" + "é" * 450,
            "éé" * 2 + "xé",
        )
    ),
)


def best_ms(run: Callable[[], object], times: int = 5) -> float:
    """Milliseconds of CPU of the quickest run."""
    found = []
    for _ in range(times):
        began = time.process_time()
        run()
        found.append(time.process_time() - began)
    return min(found) * 1000


def usual() -> None:
    """A usual filter on a small payload."""
    payload = msgspec.json.encode(SMALL)
    view = EventView("order.created", metadata=b'{"env":"prod"}', payload=payload)
    condition = compile_filter(USUAL)
    times = 2000
    for name, run in (
        ("compile", lambda: compile_expression(USUAL, _VARIABLES, {"type": "string"})),
        ("decode and evaluate", lambda: condition.judge(
            EventView("order.created", metadata=b'{"env":"prod"}', payload=payload)
        )),
        ("evaluate", lambda: condition.judge(view)),
    ):  # fmt: skip
        took = best_ms(lambda run=run: [run() for _ in range(times)]) / times  # type: ignore[misc]
        print(f"{name:24} {took * 1000:8.1f} µs")


def worst() -> None:
    """Every payload with every costly filter."""
    slowest = 0.0
    for name, value in LARGE.items():
        payload = msgspec.json.encode(value)
        decoding = best_ms(lambda payload=payload: EventView("t", payload=payload).payload)  # type: ignore[misc]
        view = EventView("t", payload=payload)
        took, text = max(
            (best_ms(partial(compile_filter(text).judge, view), 3), text) for text in COSTLY
        )
        slowest = max(slowest, took)
        print(
            f"{name:12} {len(payload):9,} bytes: decoded in {decoding:.0f} ms, slowest {took:.0f} ms"
        )
        print(f"{'':12} {text[:80]}")
    print(f"the slowest of all: {slowest:.0f} ms for at most {STEP_LIMIT:,} steps")


if __name__ == "__main__":
    usual()
    worst()
