"""uvicorn, embedded: our sockets, our signals, our protocol."""

import contextlib
import socket
from collections.abc import Iterator
from functools import partial

import uvicorn

from triggers_api.app import App
from triggers_api.errors import StartError
from triggers_api.http.protocol import ServerProtocol

_BACKLOG = 2048


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
    listener = socket.socket(family, socket.SOCK_STREAM)
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


def make_server(app: App) -> Server:
    """The HTTP server of an app that has been entered."""
    return Server(
        uvicorn.Config(
            app.asgi,
            http=partial(ServerProtocol, lane=app.post_event),  # type: ignore[arg-type]
            access_log=False,
            lifespan="off",
            log_config=None,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=int(app.settings.shutdown_grace_s) or 1,
            timeout_keep_alive=75,
            ws="none",
        )
    )
