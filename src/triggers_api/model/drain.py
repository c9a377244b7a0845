"""How far a service that runs empty has come: of what was there when it began, what is done."""

from typing import Final

import msgspec

from triggers_api.model.timestamp import Timestamp

_TELLING_S: Final = 1.0
"""What is done in less says nothing of how long the rest takes."""


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to be done at a moment.

    Attributes:
        at: the moment.
        left: events to be routed and deliveries not finished, together.
        scheduled: events whose time is still to come, which are not among ``left``.
        deliveries: all that are on file, finished or not; it grows by those that routing makes.
    """

    at: Timestamp
    left: int
    scheduled: int
    deliveries: int


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How much is done of how much.

    Attributes:
        total: what was there at the beginning and what has come of it since: an event that was routed
            has become its deliveries, one that was scheduled is due.
        done: of ``total``.
        eta_s: seconds that the rest takes if it goes on as it has until now; ``None`` within the first
            second, and before anything is done.
    """

    total: int
    done: int
    eta_s: float | None


def progress(begun: Work, now: Work) -> Progress:
    """What was done between two moments.

    Both are counted while work goes on, and deliveries that are old enough are deleted meanwhile: it is
    about right, and never less than nothing.
    """
    come = max(now.deliveries - begun.deliveries, 0) + max(begun.scheduled - now.scheduled, 0)
    total = max(begun.left + come, now.left)
    done = total - now.left
    took_s = (now.at - begun.at) / 1000
    eta_s = round(now.left * took_s / done, 1) if done and took_s >= _TELLING_S else None
    return Progress(total=total, done=done, eta_s=eta_s)
