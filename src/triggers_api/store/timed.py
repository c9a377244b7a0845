"""How long the store takes for each verb, and how often it does not do it: seen from who asks."""

import inspect
from collections.abc import Awaitable, Callable
from functools import wraps
from time import perf_counter
from typing import Any, Final

from triggers_api.errors import Unavailable
from triggers_api.store.base import Store
from triggers_api.telemetry.metrics import Metrics

_NOT_TIMED: Final = frozenset(
    {"wait_queue", "wait_deliveries", "watch_deliveries", "wait_log", "wait_jobs", "close"}
)
"""They take as long as there is nothing to do."""
VERBS: Final = frozenset(
    name
    for name, verb in vars(Store).items()
    if inspect.iscoroutinefunction(verb) and name not in _NOT_TIMED
)
"""What is timed. Not ``append``, many of which are one commit: that is ``triggers_commit_seconds``."""


def time_verbs(store: Store, metrics: Metrics) -> None:
    """Have a store's verbs tell their times from now on.

    Args:
        store: of any engine.
        metrics: ``store_seconds`` and ``store_failures`` are told.
    """
    for verb in VERBS:
        setattr(store, verb, _timed(verb, getattr(store, verb), metrics))


def _timed(
    verb: str, call: Callable[..., Awaitable[Any]], metrics: Metrics
) -> Callable[..., Awaitable[Any]]:
    observe: Callable[[float], None] | None = None

    @wraps(call)
    async def timed(*args: Any, **named: Any) -> Any:  # noqa: ANN401 - any verb's
        nonlocal observe
        started = perf_counter()
        try:
            return await call(*args, **named)
        except Unavailable as problem:
            metrics.store_failures.labels(verb, problem.code).inc()
            raise
        finally:
            if observe is None:  # with the first call: a verb that nobody uses shows no series
                observe = metrics.store_seconds.labels(verb).observe
            observe(perf_counter() - started)

    return timed
