"""Query parameters: those that several lists share, and that no other comes along."""

from collections import Counter
from collections.abc import Collection
from typing import Annotated, Final
from urllib.parse import parse_qsl

from litestar.params import QueryParameter

from triggers_api.errors import FieldError, ValidationFailed
from triggers_api.model.text import is_type_pattern
from triggers_api.model.timestamp import Timestamp

_MOST_ERRORS: Final = 10

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


def check_query(query_string: bytes, known: Collection[str]) -> None:
    """Each parameter at most once, and none that the route does not know.

    A filter that is ignored would answer with what was not asked for.

    Raises:
        ValidationFailed: with every fault found.
    """
    if not query_string:
        return
    given = Counter(name for name, _ in parse_qsl(query_string.decode("latin-1"), True))
    errors = [
        FieldError(name[:64], "unknown-parameter", "there is no such parameter here")
        for name in given
        if name not in known
    ]
    errors += [
        FieldError(name, "repeated-parameter", "may be given once")
        for name, count in given.items()
        if count > 1 and name in known
    ]
    if errors:
        raise ValidationFailed("a parameter is not acceptable", errors=errors[:_MOST_ERRORS])
