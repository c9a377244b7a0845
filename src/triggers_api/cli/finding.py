"""What a look at one thing comes to."""

from typing import NamedTuple


class Finding(NamedTuple):
    """One line of the report: ``ok``, ``warn`` or ``fail``, about what, in words."""

    level: str
    about: str
    text: str
