"""Progress bars on standard error, where that is a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[float], None]
"""Is told the fraction that is done, from 0 to 1."""


class Progress(Protocol):
    """Shows what is going on."""

    def bar(self, title: str) -> AbstractContextManager[Advance]:
        """A bar for one step, for as long as the context is open."""

    def say(self, line: str) -> None:
        """Something that must not be missed, on a line of its own."""


class Silent:
    """No bars; what must not be missed is still said."""

    @contextmanager
    def bar(self, title: str) -> Iterator[Advance]:
        """Nothing is shown."""
        del title
        yield lambda _: None

    def say(self, line: str) -> None:
        """On standard error."""
        sys.stderr.write(f"triggers bench: {line}\n")


@contextmanager
def progress() -> Iterator[Progress]:
    """Bars when standard error is a terminal, else none."""
    if not sys.stderr.isatty():
        yield Silent()
        return
    from rich.console import Console  # noqa: PLC0415 - rich is slow to import
    from rich.progress import Progress as Bars  # noqa: PLC0415

    class Rich:
        def __init__(self, bars: Bars) -> None:
            self._bars = bars

        @contextmanager
        def bar(self, title: str) -> Iterator[Advance]:
            task = self._bars.add_task(title, total=1.0)
            try:
                yield lambda fraction: self._bars.update(task, completed=fraction)
            finally:
                self._bars.remove_task(task)

        def say(self, line: str) -> None:
            self._bars.console.print(line, style="bold yellow", markup=False, highlight=False)

    # Few refreshes: drawing takes time from the loader's core.
    with Bars(console=Console(stderr=True), transient=True, refresh_per_second=4) as bars:
        yield Rich(bars)
