"""A world of its own for a program: every address there is leads to it, and names to its own server.

Linux namespaces: the network has nothing but a loopback device, to which all of IPv4 and IPv6 is routed
as local, so that a connection to any address reaches whoever listens on ``0.0.0.0`` or ``::``. The
system's resolver asks ``127.0.0.1``, where the program may answer as it likes. Nothing outside is
touched.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from shutil import which
from typing import Final

import pytest

_ROOT: Final = Path(__file__).parents[2]
_ENCLOSE: Final = """
set -e
ip link set lo up
ip route add local 0.0.0.0/0 dev lo
ip -6 route add local ::/0 dev lo
mount --bind "$1/resolv.conf" /etc/resolv.conf
mount --bind "$1/nsswitch.conf" /etc/nsswitch.conf
shift
exec "$@"
"""
_RESOLVER: Final = "nameserver 127.0.0.1\noptions timeout:20 attempts:1\n"
"""A question is asked once: what is answered may differ from question to question."""
_NAMES: Final = "hosts: files dns\n"


def enclosed(*arguments: str, folder: Path, timeout_s: float) -> None:
    """Run a Python program there to its end. Skips where there is no such world.

    Args:
        arguments: for the interpreter.
        folder: for what it is given as its configuration.
        timeout_s: how long it may take.
    """
    (folder / "resolv.conf").write_text(_RESOLVER)
    (folder / "nsswitch.conf").write_text(_NAMES)
    for program in ("unshare", "ip", "mount"):
        if which(program) is None:
            pytest.skip(f"needs the program {program}")
    into = [
        "unshare",
        "--map-root-user",
        "--mount",
        "--net",
        "sh",
        "-c",
        _ENCLOSE,
        "sh",
        str(folder),
    ]
    tried = subprocess.run([*into, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no namespaces for this user: {tried.stderr.strip()}")
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(_ROOT))))
    done = subprocess.run(
        [*into, sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stderr
