"""A call of the API as data: what is asked, and how the answer is read. No I/O."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from triggers_api.client.errors import Problem, UnexpectedAnswer

T_co = TypeVar("T_co", covariant=True)

JSON: Final = "application/json"
PROBLEM_JSON: Final = "application/problem+json"

_DECODE_PROBLEM: Final = msgspec.json.Decoder(Problem).decode
_CHECK_JSON: Final = msgspec.json.Decoder(msgspec.Raw).decode


class Answer(msgspec.Struct, frozen=True):
    """What came back; ``headers`` by lower-case name."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """One call.

    Attributes:
        path: with its query.
        repeatable: doing it twice comes to the same as once, so that it may be asked again when an
            answer was lost.
        hold_s: how long the service may hold the answer back.
        gone_is_done: when an answer was lost, ``404`` to the next attempt is success.
        also_good: of answers that are not 2xx, those that are no refusal.
    """

    method: str
    path: str
    decode: Callable[[Answer], T_co]
    body: bytes | None = None
    repeatable: bool = False
    hold_s: float = 0.0
    gone_is_done: bool = False
    also_good: Callable[[Answer], bool] | None = None


def url(path: str, *ids: str, **query: Any) -> str:  # noqa: ANN401 - see query_of
    """A path with ids in place of each ``{}``, and a query."""
    return path.format(*(quote(each, safe="") for each in ids)) + query_of(query)


def query_of(parameters: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> str:
    """A query string with its question mark; what is ``None`` is left out.

    Raises:
        ValueError: a time without a zone.
    """
    pairs = parameters.items() if isinstance(parameters, Mapping) else parameters
    given = [(name, _parameter(value)) for name, value in pairs if value is not None]
    return f"?{urlencode(given)}" if given else ""


def _parameter(value: Any) -> str:  # noqa: ANN401 - a word, number, flag or time
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return moment(value)
    return str(value)


def moment(value: datetime) -> str:
    """A time as the API writes it.

    Raises:
        ValueError: it has no time zone, so nobody knows when it is.
    """
    if value.tzinfo is None:
        raise ValueError("a time needs a time zone: datetime.now(UTC), for instance")
    return value.isoformat()


def encoded(value: Any) -> bytes:  # noqa: ANN401 - whatever JSON can say
    """JSON of a value; ``msgspec.Raw`` is JSON already and stays as it is, byte for byte.

    Raises:
        ValueError: it has a NaN or an infinity, for which JSON has no words, or is a ``Raw`` that is not
            one JSON value.
        TypeError: JSON has no words for its type.
    """
    if isinstance(value, msgspec.Raw):
        return bytes(_CHECK_JSON(value))
    text = json.dumps(
        value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_builtins
    )
    return text.encode()


def _builtins(value: Any) -> Any:  # noqa: ANN401 - of a type that json does not know
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, msgspec.Raw):
        raise TypeError("msgspec.Raw may only be a whole payload")
    built = msgspec.to_builtins(value)
    if isinstance(built, float) and not math.isfinite(built):
        raise ValueError("out of range for JSON")
    return built


def body_of(fields: Mapping[str, Any]) -> bytes:
    """A body of the fields that are not ``None``."""
    return encoded({name: value for name, value in fields.items() if value is not None})


# ── reading answers ───────────────────────────────────────────────────────────────────────────────


@cache
def into(kind: Any) -> Callable[[Answer], Any]:  # noqa: ANN401 - a type, also a generic one
    """Reads an answer's body as a type."""
    decode = msgspec.json.Decoder(kind).decode

    def read(answer: Answer) -> Any:  # noqa: ANN401 - of that type
        try:
            return decode(answer.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UnexpectedAnswer(f"not what this service answers: {error}") from None

    return read


def nothing(_: Answer) -> None:
    """Reads an answer that has no body."""


def anything(answer: Answer) -> Any:  # noqa: ANN401 - JSON
    """The decoded body, ``None`` where there is none."""
    return into(Any)(answer) if answer.body else None


def problem_of(answer: Answer) -> Problem | None:
    """The problem in an answer; ``None`` where something else than the service wrote it."""
    if answer.headers.get("content-type", "").partition(";")[0].strip() != PROBLEM_JSON:
        return None
    try:
        found = _DECODE_PROBLEM(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return msgspec.structs.replace(found, status=answer.status)
