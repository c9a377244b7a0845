"""Files that browsers keep: each under a name that changes with its contents."""

import hashlib
from functools import cache
from importlib import resources
from typing import Final

import msgspec

PREFIX: Final = "/ui/static/"
_FILES: Final = {
    "page.css": ("page.css", "text/css; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
    "charts.js": ("charts.js", "text/javascript; charset=utf-8"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
    "htmx.js": ("vendor/htmx-2.0.11.min.js", "text/javascript; charset=utf-8"),
    "uplot.js": ("vendor/uplot-1.6.32.min.js", "text/javascript; charset=utf-8"),
    "uplot.css": ("vendor/uplot-1.6.32.min.css", "text/css; charset=utf-8"),
}


class Asset(msgspec.Struct, frozen=True):
    """A file as it is served."""

    path: str
    media_type: str
    content: bytes


@cache
def _assets() -> dict[str, Asset]:
    folder = resources.files("triggers_api.web") / "static"
    found = {}
    for name, (file, media_type) in _FILES.items():
        content = (folder / file).read_bytes()
        digest = hashlib.sha256(content).hexdigest()[:12]
        found[name] = Asset(f"{PREFIX}{digest}/{name}", media_type, content)
    return found


def path_of(name: str) -> str:
    """Where a file is served.

    Raises:
        KeyError: there is no such file.
    """
    return _assets()[name].path


def asset(path: str) -> Asset | None:
    """The file that is served under a path."""
    found = _assets().get(path.rpartition("/")[2])
    return found if found is not None and found.path == path else None
