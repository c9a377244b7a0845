"""Templates, and how times, numbers and payloads are shown."""

import math
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from triggers_api import __version__
from triggers_api.model.timestamp import Timestamp
from triggers_api.web import assets

NOTHING: Final = "\u2013"

SHOWN_LIMIT: Final = 64 << 10
"""How many characters of a payload are shown; the rest is for a download."""

_JSON_TOKEN: Final = re.compile(
    r'(?P<key>"(?:[^"\\]|\\.)*")(?=\s*:)|(?P<string>"(?:[^"\\]|\\.)*")'
    r"|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(?P<word>true|false|null)"
)
_SPANS: Final = ((45, 1, "s"), (2700, 60, "min"), (79_200, 3600, "h"))
_UNITS: Final = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


class Rendering:
    """Renders templates; everything that is not markup of ours is escaped."""

    def __init__(self, now: Callable[[], Timestamp]) -> None:
        """``now``: the wall clock, by which things are so long ago."""
        self._now = now
        self._environment = Environment(
            loader=PackageLoader("triggers_api.web"),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
            cache_size=-1,
        )
        self._environment.globals.update(asset=assets.path_of, version=__version__)
        self._environment.filters.update(
            ago=self.ago,
            bytes=in_bytes,
            compact=compact,
            counted=counted,
            json_text=json_text,
            json=highlighted,
            ms=milliseconds,
            percent=percent,
            seconds=seconds,
            sentence=sentence,
        )

        self._environment.globals["ui"] = self._environment.get_template("macros.html").module

    def button(self, page: Any, name: str, /, **parameters: object) -> Markup:  # noqa: ANN401
        """The button of an action for some rows; nothing where it would be of no use.

        ``label_`` and ``look_`` are about the button, every other parameter goes into its form.
        """
        action = page.action(name)
        if action is None:
            raise LookupError(f"no view has an action {name}")
        if not page.can(action):
            return Markup()
        label = parameters.pop("label_", action.label)
        look = parameters.pop("look_", "")
        macros: Any = self._environment.globals["ui"]
        return Markup(macros.button(page, action, label, look, parameters))  # noqa: S704

    def render(self, template: str, **given: Any) -> str:  # noqa: ANN401 - whatever is shown
        """A template with what it shows."""
        return self._environment.get_template(template).render(given)

    def ago(self, moment: str | None) -> Markup:
        """How long ago, or in how long; exactly on hover."""
        if moment is None:
            return Markup('<span class="none">{}</span>').format(NOTHING)
        at = Timestamp.parse(moment)
        words = relative((at - self._now()) / 1000)
        shown = datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
        return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(moment, shown, words)


def relative(seconds_ahead: float) -> str:
    """A distance in time, in one unit."""
    size = abs(seconds_ahead)
    unit_s, name = next(
        ((unit_s, name) for limit, unit_s, name in _SPANS if size < limit), (86_400, "d")
    )
    count = round(size / unit_s)
    if name == "s" and count < 2:
        return "now"
    return f"in {count} {name}" if seconds_ahead > 0 else f"{count} {name} ago"


def seconds(value: float | None) -> str:
    """A duration, in the unit that suits it."""
    if value is None:
        return NOTHING
    for limit, unit, name in (
        (1, 0.001, "ms"),
        (120, 1, "s"),
        (7200, 60, "min"),
        (172_800, 3600, "h"),
    ):
        if value < limit:
            return f"{value / unit:.3g} {name}" if name != "ms" else f"{value / unit:.0f} ms"
    return f"{value / 86_400:.3g} d"


def milliseconds(value: float | None) -> str:
    """A short duration, given in milliseconds."""
    if value is None:
        return NOTHING
    if value < 10:
        return f"{value:.1f} ms"
    return f"{value:.0f} ms" if value < 1000 else seconds(value / 1000)


def compact(value: float | None) -> str:
    """A number in at most four characters and a letter."""
    if value is None:
        return NOTHING
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            scaled = value / (1e3 if letter == "k" else limit)
            return f"{scaled:.1f}{letter}" if abs(scaled) < 100 else f"{scaled:.0f}{letter}"
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def counted(count: dict[str, Any]) -> str:
    """A count that was ended at some bound, if there are more."""
    return f"{compact(count['count'])}{'' if count['complete'] else '+'}"


def percent(value: float | None) -> str:
    """A share, never rounded up to all or down to none."""
    if value is None:
        return NOTHING
    if value in {0, 1}:
        return f"{value:.0%}"
    digits = 2 if value > 0.99 or value < 0.01 else 1
    factor = 10 ** (digits + 2)
    return f"{math.floor(value * factor) / factor:.{digits}%}"


def sentence(text: str) -> str:
    """Words with a capital and a full stop."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def in_bytes(value: int) -> str:
    """A size."""
    for limit, unit in _UNITS:
        if value >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value} B"


def json_text(value: Any) -> str:  # noqa: ANN401 - any JSON
    """JSON with one member a line; what was received as bytes keeps its spelling."""
    encoded = bytes(value) if isinstance(value, msgspec.Raw) else msgspec.json.encode(value)
    if len(encoded) > 4 * SHOWN_LIMIT:
        return encoded[:SHOWN_LIMIT].decode(errors="replace")
    try:
        return msgspec.json.format(encoded, indent=2).decode()
    except (msgspec.DecodeError, RecursionError):
        return encoded.decode(errors="replace")


def highlighted(value: Any) -> Markup:  # noqa: ANN401 - any JSON, or a text
    """JSON as text with its words in colour; of a long one the beginning."""
    text = value if isinstance(value, str) else json_text(value)
    return Markup("").join(_tokens(text[:SHOWN_LIMIT]))


def _tokens(text: str) -> Iterator[Markup]:
    end = 0
    for match in _JSON_TOKEN.finditer(text):
        yield escape(text[end : match.start()])
        yield Markup('<span class="j-{}">{}</span>').format(match.lastgroup, match[0])
        end = match.end()
    yield escape(text[end:])
