"""A subscription's filter: a condition on what an event holds. Pure.

The language is a part of the Common Expression Language (``model/cel``), over ``type``, ``source``,
``key``, ``metadata`` and ``payload``. A filter that has no answer for an event, because a field is
missing for instance, does not match it.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import msgspec

from triggers_api.model.cel.program import Program, compile_expression
from triggers_api.model.cel.syntax import ExpressionFault
from triggers_api.model.cel.values import EvaluationFault

STEP_LIMIT: Final = 200_000
"""Steps that one filter may take for one event; ``docs/decisions/0015-filters.md`` has the time."""

_REMEMBERED: Final = 4096

_UNDECODED: Final = object()

FAULT_CODES: Final = (
    "arithmetic", "missing-field", "not-supported", "too-costly", "unreadable", "wrong-type",
)  # fmt: skip
"""Why a filter may have no answer."""


class EventView:
    """An event as filters read it: metadata and payload are decoded when first asked for, and once."""

    __slots__ = (
        "_metadata", "_payload", "_raw_metadata", "_raw_payload", "key", "operational", "source", "type",
    )  # fmt: skip

    def __init__(
        self,
        event_type: str,
        *,
        source: str | None = None,
        key: str | None = None,
        metadata: bytes | None = None,
        payload: bytes | None = None,
        operational: bool = False,
    ) -> None:
        """Look at an event; ``payload`` is ``None`` where it is known that no filter will ask.

        ``operational``: it is one of the service's own, which filters do not see and routing does.
        """
        self.type = event_type
        self.source = source
        self.key = key
        self.operational = operational
        self._raw_metadata = metadata
        self._raw_payload = payload
        self._metadata: Any = _UNDECODED
        self._payload: Any = _UNDECODED

    @property
    def metadata(self) -> Any:  # noqa: ANN401 - JSON
        """The metadata's object, ``None`` when there is none."""
        if self._metadata is _UNDECODED:
            raw = self._raw_metadata
            self._metadata = None if raw is None else msgspec.json.decode(raw)
        return self._metadata

    @property
    def payload(self) -> Any:  # noqa: ANN401 - JSON
        """The payload's value.

        Raises:
            EvaluationFault: it holds what has no value here, such as 1e400.
        """
        if self._payload is _UNDECODED:
            assert self._raw_payload is not None
            try:
                self._payload = msgspec.json.decode(self._raw_payload)
            except (msgspec.DecodeError, RecursionError) as error:
                self._payload = EvaluationFault("unreadable", f"the payload is unreadable: {error}")
        if type(self._payload) is EvaluationFault:
            raise self._payload
        return self._payload


class Judgement(msgspec.Struct, frozen=True):
    """Whether a filter, or a part of it, matches an event; with the fault where it had no answer.

    ``fault_code`` is one of :data:`FAULT_CODES`, ``fault`` the same in words.
    """

    matches: bool
    fault_code: str | None = None
    fault: str | None = None


class PartJudgement(msgspec.Struct, frozen=True):
    """What came of one of the conditions that a filter joins by ``&&``."""

    expression: str
    judgement: Judgement


_VARIABLES: Final[dict[str, Callable[[EventView], Any]]] = {
    "type": lambda event: event.type,
    "source": lambda event: event.source,
    "key": lambda event: event.key,
    "metadata": lambda event: event.metadata,
    "payload": lambda event: event.payload,
}


class Filter:
    """A compiled filter."""

    __slots__ = ("_program",)

    def __init__(self, program: Program) -> None:
        """See :func:`compile_filter`."""
        self._program = program

    def judge(self, event: EventView) -> Judgement:
        """Whether it matches."""
        return _judged(lambda: self._program.holds(event, steps=STEP_LIMIT))

    def parts(self, event: EventView) -> tuple[PartJudgement, ...]:
        """Each of its parts between the outermost ``&&``, judged by itself."""
        return tuple(
            PartJudgement(
                part.text,
                _judged(lambda part=part: self._program.part_holds(part, event, steps=STEP_LIMIT)),  # type: ignore[misc]
            )
            for part in self._program.parts
        )


def _judged(holds: Callable[[], bool]) -> Judgement:
    try:
        return _MATCHES if holds() else _DIFFERS
    except EvaluationFault as fault:
        return Judgement(matches=False, fault_code=fault.code, fault=str(fault))


_MATCHES: Final = Judgement(matches=True)
_DIFFERS: Final = Judgement(matches=False)


class _BrokenFilter(Filter):
    """One that was accepted by a version of the service that knew more than this one."""

    __slots__ = ("_text", "_why")

    def __init__(self, text: str, fault: ExpressionFault) -> None:
        self._text = text
        self._why = Judgement(matches=False, fault_code="not-supported", fault=fault.message)

    def judge(self, event: EventView) -> Judgement:
        del event
        return self._why

    def parts(self, event: EventView) -> tuple[PartJudgement, ...]:
        del event
        return (PartJudgement(self._text, self._why),)


@lru_cache(maxsize=_REMEMBERED)
def compile_filter(text: str) -> Filter:
    """A filter from its text; the same text is compiled once.

    Raises:
        ExpressionFault: it cannot be used; with the place.
    """
    return Filter(compile_expression(text, _VARIABLES, {"type": "string"}))


def stored_filter(text: str) -> Filter:
    """A filter that was accepted once; one that this version cannot compile matches nothing."""
    try:
        return compile_filter(text)
    except ExpressionFault as fault:
        return _BrokenFilter(text, fault)
