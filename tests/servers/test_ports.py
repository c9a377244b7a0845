"""Ports that a server can begin on later."""

from __future__ import annotations

import socket

from tests.servers.ports import free_port, free_ports


def test_none_is_given_twice_before_all_were() -> None:
    assert len(set(free_ports(500))) == 500


def test_one_that_is_in_use_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
        taken.listen()
        assert taken.getsockname()[1] not in free_ports(624)
