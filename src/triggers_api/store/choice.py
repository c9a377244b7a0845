"""Which due deliveries a claim takes: by line, by room, and by turn. No I/O; every engine asks this.

There are two lines, first attempts and what comes after them (retries, replays). Of a claim, of a
lane's room and of an organization's room a quarter is kept for the second line while it has any, and
the rest for the first one while it has any; each fills up what the other leaves.
"""

from collections.abc import Generator, Iterable
from typing import Any, Final

from triggers_api.store.front import Front
from triggers_api.store.passed import Passed
from triggers_api.store.questions import FIRST, Allowed, Chosen, Due
from triggers_api.store.taking import Taking
from triggers_api.store.turns import K, Turns
from triggers_api.store.walk import Walk

CLAIMED_BYTES: Final = 16 << 20
"""A claim ends with the payload that reaches this."""

Asking = Generator[Any, Any, Chosen[K]]


def choose(
    *, limit: int, allowed: Allowed[K], turns: Turns[K], passed: Passed[K], now: int
) -> Asking[K]:
    """Choose up to ``limit`` due deliveries.

    Args:
        limit: how many to take.
        allowed: the rooms.
        turns: where this process stands; is changed.
        passed: what it has gone past at the front; is changed.
        now: when they are claimed.

    Yields:
        :class:`Ahead` and :class:`Within`, to be sent what is due; :class:`Among` and, when the front
        of a line belongs to those without room, :class:`Behind`, to be sent lanes.
    """
    turns.next_phase()
    taking = Taking(limit, allowed, turns.phase)
    whole = taking.whole
    front = Front(taking, passed, now)
    yield from front.go()
    unfinished = False
    if whole.free and any(front.hides):
        walk = Walk(taking, turns, *front.spare, hides_first=front.hides[FIRST])
        unfinished = yield from walk.go()
    whole.kept = 0
    for spare in front.spare:
        for due in spare:
            if not whole.free:
                break
            taking.take(due)
    front.pass_over()
    if unfinished and not whole.free:
        turns.rest()
        unfinished = False
    return Chosen(_mixed(taking.taken.values()), unfinished)


def _mixed(taken: Iterable[Due[K]]) -> list[Due[K]]:
    """Both lines in the order of falling due, and three of the first one for each of the second."""
    lines: tuple[list[Due[K]], list[Due[K]]] = ([], [])
    for due in taken:
        lines[due.priority != FIRST].append(due)
    for line in lines:
        line.sort(key=lambda due: (due.due_at, due.delivery))
    first, later = lines
    if not later:
        return first
    mixed: list[Due[K]] = []
    for at, due in enumerate(later):
        mixed += first[3 * at : 3 * at + 3]
        mixed.append(due)
    return mixed + first[3 * len(later) :]
