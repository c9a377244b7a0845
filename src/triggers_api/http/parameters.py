"""Query parameters: those that several lists share, and that no other comes along."""

from collections import Counter
from collections.abc import Collection
from enum import StrEnum
from typing import Annotated, Final
from urllib.parse import parse_qsl

from litestar.params import QueryParameter

from triggers_api.errors import FieldError, ValidationFailed
from triggers_api.model.search import (
    CONDITIONS_LIMIT,
    PATH_LENGTH,
    VALUE_LENGTH,
    WORDS_LIMIT,
    Condition,
    words_of,
)
from triggers_api.model.text import is_type_pattern
from triggers_api.model.timestamp import Timestamp

_MOST_ERRORS: Final = 10
_TEXT_LENGTH: Final = 2000
"""Of what is searched for, in characters."""

PAYLOAD: Final = "payload."
"""The beginning of parameters that name a place in the payload."""


class Order(StrEnum):
    """Which end of a list comes first."""

    DESC = "desc"
    ASC = "asc"


Limit = Annotated[int, QueryParameter(ge=1, le=1000, description="Rows on a page.")]
Cursor = Annotated[str | None, QueryParameter(description="`next_cursor` of the page before.")]
Since = Annotated[Timestamp | None, QueryParameter(description="Not before this moment.")]
Until = Annotated[Timestamp | None, QueryParameter(description="Before this moment.")]


def check_type_pattern(pattern: str | None) -> None:
    """A filter on types.

    Raises:
        ValidationFailed: it can match no type.
    """
    if pattern is not None and not is_type_pattern(pattern):
        raise ValidationFailed.of("type", "invalid-parameter", "is not an event type or pattern")


def check_query(
    query_string: bytes, known: Collection[str], *, beginnings: tuple[str, ...] = ()
) -> None:
    """Each parameter at most once, and none that the route does not know.

    The route knows those that have one of the ``beginnings``, too. A filter that is ignored would
    answer with what was not asked for.

    Raises:
        ValidationFailed: with every fault found.
    """
    if not query_string:
        return
    given = Counter(name for name, _ in parse_qsl(query_string.decode("latin-1"), True))
    errors = [
        FieldError(name[:64], "unknown-parameter", "there is no such parameter here")
        for name in given
        if name not in known and not name.startswith(beginnings)
    ]
    errors += [
        FieldError(name[:64], "repeated-parameter", "may be given once")
        for name, count in given.items()
        if count > 1 and (name in known or name.startswith(beginnings))
    ]
    if errors:
        raise ValidationFailed("a parameter is not acceptable", errors=errors[:_MOST_ERRORS])


def words_wanted(text: str | None) -> tuple[str, ...]:
    """What ``q`` asks for.

    Raises:
        ValidationFailed: there is no word in it, or too many are.
    """
    if text is None:
        return ()
    words = words_of(text[: _TEXT_LENGTH + 1])
    if not words:
        raise ValidationFailed.of("q", "invalid-parameter", "has no letter and no digit")
    if len(text) > _TEXT_LENGTH or len(words) > WORDS_LIMIT:
        reason = f"must have at most {_TEXT_LENGTH} characters and {WORDS_LIMIT} words"
        raise ValidationFailed.of("q", "invalid-parameter", reason)
    return words


def conditions_wanted(query_string: bytes) -> tuple[Condition, ...]:
    """The values that the payload must hold: of the parameters ``payload.<path>``.

    Raises:
        ValidationFailed: not UTF-8, too many, or too long.
    """
    found: list[Condition] = []
    for name, value in parse_qsl(query_string.decode("latin-1"), True, encoding="latin-1"):
        if not name.startswith(PAYLOAD):
            continue
        try:
            condition = Condition(_utf8(name)[len(PAYLOAD) :], _utf8(value))
        except UnicodeDecodeError:
            raise ValidationFailed.of(name[:64], "invalid-parameter", "is not UTF-8") from None
        if not 1 <= len(condition.path) <= PATH_LENGTH or len(condition.value) > VALUE_LENGTH:
            reason = (
                f"must have a path of 1 to {PATH_LENGTH} characters "
                f"and a value of at most {VALUE_LENGTH}"
            )
            raise ValidationFailed.of(name[:64], "invalid-parameter", reason)
        found.append(condition)
    if len(found) > CONDITIONS_LIMIT:
        reason = f"at most {CONDITIONS_LIMIT} places in the payload can be asked for"
        raise ValidationFailed.of(PAYLOAD, "invalid-parameter", reason)
    return tuple(sorted(found, key=lambda each: (each.path, each.value)))


def _utf8(text: str) -> str:
    return text.encode("latin-1").decode()
