"""Who is acting: the audit log's *who*, known wherever a change is made.

It goes with the task, as the request does: whoever lets a request in, or runs a command, says who it
is (:func:`acting`), and every verb of the store that changes something on behalf of somebody asks for it
(:func:`present_actor`) and writes it down with the change. Where nobody has said anything it is the
service itself: the loops in the background.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from triggers_api.model.audit import SERVICE, Actor

_actor: Final[ContextVar[Actor]] = ContextVar("actor", default=SERVICE)


def present_actor() -> Actor:
    """Who is acting in this task."""
    return _actor.get()


def act_as(actor: Actor) -> None:
    """From here on, in this task, it is somebody."""
    _actor.set(actor)


@contextmanager
def acting(actor: Actor) -> Iterator[None]:
    """Within this block it is somebody."""
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)
