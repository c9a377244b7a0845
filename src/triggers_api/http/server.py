"""uvicorn, embedded: our sockets, our signals, our protocol."""

import contextlib
import socket
from collections.abc import Iterator
from functools import partial
from typing import Any, Protocol

import uvicorn

from triggers_api.errors import StartError
from triggers_api.http.body import Receive
from triggers_api.http.hot import PostEvent
from triggers_api.http.protocol import ServerProtocol
from triggers_api.http.wire import Send

_BACKLOG = 2048


class Asgi(Protocol):
    """An ASGI application."""

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:  # noqa: ANN401 - ASGI's
        """Serve one request."""


class Server(uvicorn.Server):
    """A server that leaves signals to whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Uvicorn would take SIGINT and SIGTERM for itself and raise them again at its end."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, taken before anything else is done.

    Raises:
        StartError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, so that asyncio knows what it has and sends small answers at once.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise StartError(
            f"cannot listen on {host}:{port}: {error.strerror}; "
            "is another server running? (--port takes another one)"
        ) from None
    listener.setblocking(False)
    return listener


def make_server(application: Asgi, lane: PostEvent | None, *, grace_s: float) -> Server:
    """The HTTP server of an application.

    Args:
        application: serves every request that does not go through the lane.
        lane: the hot route, if it has one.
        grace_s: seconds that requests under way get when it is to end.
    """
    return Server(
        uvicorn.Config(
            application,
            http=partial(ServerProtocol, lane=lane),  # type: ignore[arg-type]
            access_log=False,
            lifespan="off",
            log_config=None,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=max(1, int(grace_s)),
            timeout_keep_alive=75,
            ws="none",
        )
    )
