"""pgbouncer before a server for tests: transactions of many clients share a few sessions of it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from tests.servers.ports import free_port

_PATIENCE_S: Final = 60.0
_LOOK_EVERY_S: Final = 0.01

_CONFIGURATION: Final = """
[databases]
* = host={host} port={server_port} user={user}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {sessions}
max_client_conn = 500
query_wait_timeout = {patience_s}
server_login_retry = 0.1
{as_}
"""


class PgBouncer:
    """A pooler in transaction mode. Use it with ``with``."""

    def __init__(
        self, program: str, server_url: str, *, sessions: int = 3, patience_s: int = 5
    ) -> None:
        """Nothing runs yet.

        Args:
            program: the path of ``pgbouncer``.
            server_url: of any database on the server.
            sessions: how many of the server's sessions the clients of one database share.
            patience_s: how long a client waits for one of them before it is sent away.
        """
        server = urlsplit(server_url)
        self._program = program
        self._folder = Path(tempfile.mkdtemp(prefix="triggers-pgbouncer-"))
        self._log = self._folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        (self._folder / "pgbouncer.ini").write_text(
            _CONFIGURATION.format(
                host=server.hostname,
                server_port=server.port or 5432,
                user=server.username,
                port=self.port,
                sessions=sessions,
                patience_s=patience_s,
                # It refuses to be root.
                as_="user = nobody" if os.geteuid() == 0 else "",
            )
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def url(self, direct: str) -> str:
        """The same database through the pooler."""
        parts = urlsplit(direct)
        return parts._replace(netloc=f"{parts.username}@127.0.0.1:{self.port}").geturl()

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, self._folder / "pgbouncer.ini"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        give_up = time.monotonic() + _PATIENCE_S
        while not self._takes_connections():
            ended = self._process.poll() is not None
            assert not ended, f"it ended:\n{self.said()}"
            assert time.monotonic() < give_up, f"it does not begin:\n{self.said()}"
            time.sleep(_LOOK_EVERY_S)

    def stop(self) -> None:
        """End it at once, and every connection through it."""
        assert self._process is not None
        # Newer versions wait for their clients at a SIGTERM; this ends each version at once.
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(_PATIENCE_S)

    def said(self) -> str:
        """Its log."""
        return self._log.read_text()[-2000:]

    def _takes_connections(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False
