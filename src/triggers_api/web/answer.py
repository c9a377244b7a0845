"""What a browser is answered with."""

from collections.abc import Sequence

import msgspec

from triggers_api.http.wire import Headers


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer; the headers of every page come on top."""

    status: int = 200
    body: bytes = b""
    media_type: str = "text/html; charset=utf-8"
    headers: Sequence[tuple[str, str]] = ()

    def raw_headers(self) -> Headers:
        """The headers of this answer alone."""
        found = [
            (b"content-type", self.media_type.encode()),
            (b"content-length", b"%d" % len(self.body)),
        ]
        found += [(name.lower().encode(), value.encode()) for name, value in self.headers]
        return found


def see_other(target: str, *headers: tuple[str, str]) -> Answer:
    """Go there, with a GET."""
    return Answer(status=303, headers=(("location", target), *headers))
