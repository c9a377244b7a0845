"""Query parameters that several lists share."""

from typing import Annotated

from litestar.params import QueryParameter

from triggers_api.errors import ValidationFailed
from triggers_api.model.text import is_type_pattern
from triggers_api.model.timestamp import Timestamp

Limit = Annotated[int, QueryParameter(ge=1, le=1000, description="Rows on a page.")]
Cursor = Annotated[
    str | None, QueryParameter(max_length=512, description="`next_cursor` of the page before.")
]
Since = Annotated[Timestamp | None, QueryParameter(description="Not before this moment.")]
Until = Annotated[Timestamp | None, QueryParameter(description="Before this moment.")]


def check_type_pattern(pattern: str | None) -> None:
    """A filter on types.

    Raises:
        ValidationFailed: it can match no type.
    """
    if pattern is not None and not is_type_pattern(pattern):
        raise ValidationFailed.of("type", "invalid-parameter", "is not an event type or pattern")
