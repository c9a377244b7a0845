"""A server that follows another one, until it is promoted."""

from __future__ import annotations

import subprocess

from tests.servers.postgres import PostgresServer


class Standby(PostgresServer):
    """A streaming replica of a server of ours, copied when this is made. Use it with ``with``."""

    def __init__(self, primary: PostgresServer, *, delay_s: float = 0) -> None:
        """Copy the primary; nothing runs yet.

        Args:
            primary: whom it follows; it must be running now.
            delay_s: how long each commit waits here before it is replayed.
        """
        self._primary = primary
        self._delay_s = delay_s
        super().__init__(in_memory=True)

    def _initialize(self) -> None:
        # For as long as this one is stopped, and at most.
        self._primary.execute("ALTER SYSTEM SET wal_keep_size = '256MB'")
        self._primary.execute("SELECT pg_reload_conf()")
        subprocess.run(
            [
                self.programs / "pg_basebackup",
                f"--dbname={self._primary.url('postgres')}",
                f"--pgdata={self.data}",
                "--write-recovery-conf",
                "--checkpoint=fast",
                "--no-sync",
            ],
            check=True,
            cwd=self.folder,
            capture_output=True,
            **self._as,
        )
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(
                f"unix_socket_directories = '{self.folder}'\n"
                f"recovery_min_apply_delay = {round(self._delay_s * 1000)}\n"
            )

    def has_replayed_all(self) -> bool:
        """Whether it has everything that the primary has flushed by now."""
        ((flushed,),) = self._primary.execute("SELECT pg_current_wal_flush_lsn()::text")
        ((replayed,),) = self.execute(
            "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", flushed
        )
        return bool(replayed)

    def promote(self) -> None:
        """Follow nobody any more."""
        assert self.execute("SELECT pg_promote(true, 30)") == [(True,)]
