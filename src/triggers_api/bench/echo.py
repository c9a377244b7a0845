"""The ceiling: an ASGI application that gives every body back, on the server software of the service.

uvicorn with httptools and uvloop as in ``http/server.py``, but its own protocol class instead of ours,
no framework, no store. Run as a process: it prints its port and serves until it is told to end.
"""

import asyncio
import contextlib
import gc
import signal
import sys
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from triggers_api.http.server import Server, listen


async def echo(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's
    """The application."""
    del scope
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body)),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def serve() -> None:
    """Serve on a free port of this machine."""
    listener = listen("127.0.0.1", 0)
    server = Server(
        uvicorn.Config(
            echo,
            http=HttpToolsProtocol,
            access_log=False,
            lifespan="off",
            log_config=None,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=75,
            ws="none",
        )
    )

    def end() -> None:
        server.should_exit = True

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    # As `serve` does.
    gc.collect()
    gc.freeze()
    await server.serve(sockets=[listener])


def main() -> None:
    """The ceiling's process."""
    run = asyncio.run
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415 - absent on some platforms

        run = uvloop.run
    run(serve())


if __name__ == "__main__":
    main()
