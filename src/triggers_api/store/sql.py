"""SQL statements in files named after the verb they serve, read once."""

import re
from functools import cache
from importlib import resources
from typing import Final

_ROW: Final = re.compile(r"(\([^()]*\)) /\* rows \*/")
_EITHER_WAY: Final = " /* or upward */"


class Statements:
    """The ``sql/*.sql`` files of an engine, by name.

    One in which a ``DESC`` is marked ``/* or upward */`` is there without it as well, as ``…_upward``.
    """

    def __init__(self, package: str) -> None:
        folder = resources.files(package) / "sql"
        self._texts = {
            file.name.removesuffix(".sql"): file.read_text()
            for file in folder.iterdir()
            if file.name.endswith(".sql")
        }
        for name, text in list(self._texts.items()):
            if _EITHER_WAY in text:
                self._texts[name] = text.replace(_EITHER_WAY, "")
                self._texts[f"{name}_upward"] = text.replace(f" DESC{_EITHER_WAY}", "")
        self._for_rows = cache(self._expand)

    def __getitem__(self, name: str) -> str:
        return self._texts[name]

    def rows(self, name: str, count: int) -> str:
        """The statement with the group marked ``/* rows */`` repeated for that many rows."""
        return self._for_rows(name, count)

    def _expand(self, name: str, count: int) -> str:
        return _ROW.sub(lambda row: ", ".join([row[1]] * count), self._texts[name])
