"""The service behind nginx and Caddy, with the configurations of ``deploy/``, over real sockets."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Thread
from typing import Any, Final, NamedTuple

import pytest
import trustme
from tests.cli.conftest import LONGEST_S, Serve, Serving
from tests.docs.console import is_listening
from tests.external.conftest import Program
from tests.servers.ports import free_port

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
NAME: Final = "triggers.example.org"
API_KEY: Final = "a-key-of-the-organization"
ADMIN_KEY: Final = "a-key-of-the-operator"
CLIENT: Final = "127.0.0.2"
"""Where clients come from: another address of this machine than the proxy's."""

Proxies = tuple[str, ...]
PROXIES: Final[Proxies] = ("nginx", "nginx-compose", "caddy")


class Proxy(NamedTuple):
    """A proxy that runs."""

    port: int
    tls: ssl.SSLContext | None

    def connection(self, source: str = CLIENT) -> http.client.HTTPConnection:
        options: dict[str, Any] = {"timeout": LONGEST_S, "source_address": (source, 0)}
        if self.tls is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, **options)
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=self.tls, **options)

    def ask(
        self, method: str, path: str, body: bytes | None = None, *, source: str = CLIENT,
        key: str = API_KEY, **headers: str,
    ) -> tuple[int, dict[str, str], bytes]:  # fmt: skip
        """Status, headers and body of an answer."""
        given = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", "Host": NAME}
        with closing(self.connection(source)) as connection:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, given | named)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, found, answer.read()


def nginx_site(folder: Path, upstream: int, port: int) -> tuple[Path, ssl.SSLContext]:
    authority = trustme.CA()
    certificate = authority.issue_cert(NAME)
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    site = (DEPLOY / "nginx" / "triggers.conf").read_text()
    site = site.replace("127.0.0.1:8000", f"127.0.0.1:{upstream}")
    site = site.replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
    site = re.sub(r"/etc/ssl/triggers\.example\.org\.(pem|key)", f"{folder}/both.pem", site)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    whole = folder / "nginx.conf"
    whole.write_text(
        f"user root;\npid {folder}/nginx.pid;\nerror_log stderr warn;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}\n{site}\n}}\n"
    )
    trusted = ssl.create_default_context()
    trusted.check_hostname = False  # the address is dialled, not the name
    authority.configure_trust(trusted)
    return whole, trusted


def nginx_compose(folder: Path, upstream: int, port: int) -> Path:
    text = (DEPLOY / "compose" / "nginx.conf").read_text()
    text = re.sub(r"\bapi-[12]:8000", f"127.0.0.1:{upstream}", text)
    text = text.replace("listen 8080", f"listen 127.0.0.1:{port}").replace("/tmp/", f"{folder}/")
    whole = folder / "nginx.conf"
    whole.write_text(f"user root;\n{text}")
    return whole


def caddyfile(folder: Path, upstream: int, port: int) -> Path:
    text = (DEPLOY / "caddy" / "Caddyfile").read_text()
    text = text.replace("127.0.0.1:8000", f"127.0.0.1:{upstream}")
    # Without a name that the world knows there is no certificate to get.
    text = text.replace(f"{NAME} {{", f"http://{NAME}:{port} {{\n\tbind 127.0.0.1", 1)
    whole = folder / "Caddyfile"
    whole.write_text(f"{{\n\tadmin off\n\tauto_https off\n}}\n{text}")
    return whole


Start = Callable[[str, int], Proxy]


@pytest.fixture
def start(program: Program, tmp_path: Path) -> Iterator[Start]:
    """Starts proxies before a port of this machine."""
    with ExitStack() as stack:

        def start(kind: str, upstream: int) -> Proxy:
            folder = tmp_path / kind
            folder.mkdir()
            port = free_port()
            tls = None
            if kind == "caddy":
                file = caddyfile(folder, upstream, port)
                command = [program("caddy"), "run", "--adapter", "caddyfile", "--config", str(file)]
            else:
                if kind == "nginx":
                    file, tls = nginx_site(folder, upstream, port)
                else:
                    file = nginx_compose(folder, upstream, port)
                command = [
                    program("nginx"),
                    "-p",
                    str(folder),
                    "-c",
                    str(file),
                    "-g",
                    "daemon off;",
                ]
            log = stack.enter_context((folder / "log").open("w+"))
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, "HOME": str(folder)}
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
            deadline = time.monotonic() + LONGEST_S
            while not is_listening(str(port)):
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.02)
            return Proxy(port, tls)

        yield start


class Behind(NamedTuple):
    """A service with a proxy before it."""

    proxy: Proxy
    serving: Serving


@pytest.fixture(params=PROXIES)
def behind(request: pytest.FixtureRequest, start: Start, serve: Serve) -> Behind:
    serving = serve(
        TRIGGERS_API_KEY=API_KEY,
        TRIGGERS_ADMIN_KEY=ADMIN_KEY,
        TRIGGERS_TRUSTED_PROXIES="127.0.0.1/32",
    )
    return Behind(start(request.param, int(serving.url.rpartition(":")[2])), serving)


def event(size: int = 10) -> bytes:
    return b'{"type":"order.created","payload":"%b"}' % (b"x" * size)


def test_events_go_through_with_the_proxys_name_for_the_request(behind: Behind) -> None:
    status, headers, body = behind.proxy.ask("POST", "/api/events", event())
    assert status == 202
    assert re.fullmatch(r"[0-9a-f-]{32,36}", headers["x-request-id"])
    _, other, _ = behind.proxy.ask("POST", "/api/events", event())
    assert other["x-request-id"] != headers["x-request-id"]
    found = behind.serving.call("GET", f"/api/events/{json.loads(body)['id']}", API_KEY)
    assert found[0] == 200


def test_what_is_too_large_is_refused_by_the_service_in_its_own_words(behind: Behind) -> None:
    status, headers, body = behind.proxy.ask("POST", "/api/events", event(1 << 20))
    assert (status, headers["content-type"]) == (413, "application/problem+json")
    assert json.loads(body)["code"] == "too-large"


def test_a_whole_batch_goes_through_and_what_is_far_too_large_ends_at_the_proxy(
    behind: Behind,
) -> None:
    batch = b"[%b]" % b",".join([event(100_000)] * 50)
    assert len(batch) < 5 << 20
    status, _, body = behind.proxy.ask("POST", "/api/events/batch", batch)
    assert (status, json.loads(body)["accepted"]) == (202, 50)
    with closing(behind.proxy.connection()) as connection:
        connection.putrequest("POST", "/api/events/batch", skip_host=True)
        connection.putheader("Host", NAME)
        connection.putheader("Authorization", f"Bearer {API_KEY}")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(7 << 20))
        connection.endheaders()
        try:
            for _ in range(7):
                connection.send(b"x" * (1 << 20))
        except OSError:
            pass  # it answers without reading everything
        # By the service, which need not see it all, or by the proxy on the way to it.
        assert connection.getresponse().status in {413, 502}


def test_a_stream_is_passed_on_as_it_comes(behind: Behind) -> None:
    with closing(behind.proxy.connection()) as connection:
        headers = {"Authorization": f"Bearer {API_KEY}", "Host": NAME}
        connection.request("GET", "/api/events/stream", headers=headers)
        answer = connection.getresponse()
        assert answer.status == 200
        for _ in range(3):
            _, _, body = behind.proxy.ask("POST", "/api/events", event())
            event_id = json.loads(body)["id"].encode()
            while event_id not in answer.readline():
                pass  # the stream does not end: what is held back would be waited for in vain


def test_who_a_client_claims_to_be_is_not_believed(behind: Behind) -> None:
    made = behind.proxy.ask(
        "POST", "/api/subscriptions", b'{"url":"https://example.org/","event_types":["*"]}',
        X_Forwarded_For="6.6.6.6", Forwarded="for=6.6.6.6", X_Real_IP="6.6.6.6",
    )  # fmt: skip
    assert made[0] == 201, made
    _, audit = behind.serving.call("GET", "/api/audit", API_KEY)
    entry = audit["data"][0]
    assert entry["actor"].get("address") == CLIENT, audit


def test_what_is_for_operators_is_not_for_everybody(start: Start, serve: Serve) -> None:
    serving = serve(TRIGGERS_API_KEY=API_KEY, TRIGGERS_ADMIN_KEY=ADMIN_KEY)
    upstream = int(serving.url.rpartition(":")[2])
    for kind in ("nginx", "caddy"):
        proxy = start(kind, upstream)
        for path in ("/metrics", "/api/admin/controls"):
            assert proxy.ask("GET", path, key=ADMIN_KEY)[0] in {403, 404}
            assert proxy.ask("GET", path, key=ADMIN_KEY, source="127.0.0.1")[0] == 200
        for path in ("/metrics/", "//metrics", "/%6detrics"):
            assert proxy.ask("GET", path)[0] in {403, 404}, (kind, path)
    proxy = start("nginx-compose", upstream)
    assert proxy.ask("GET", "/metrics")[0] == 404


class Silent:
    """Reads requests and hangs up on each without an answer."""

    def __init__(self) -> None:
        self.requests = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            with peer:
                if b"POST" in peer.recv(65536):
                    self.requests += 1

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # who waits for a connection is not told else
        self._thread.join(LONGEST_S)
        self._listener.close()


@pytest.mark.parametrize("kind", PROXIES)
def test_an_event_whose_answer_is_lost_is_not_sent_a_second_time(start: Start, kind: str) -> None:
    with closing(Silent()) as silent:
        status, _, _ = start(kind, silent.port).ask("POST", "/api/events", event())
        assert status == 502
        assert silent.requests == 1


@pytest.mark.parametrize("kind", PROXIES)
def test_with_nobody_behind_it_a_proxy_says_so_at_once(start: Start, kind: str) -> None:
    # Taken, and not listened on: nobody else can be there either.
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        began = time.monotonic()
        proxy = start(kind, nobody.getsockname()[1])
        assert proxy.ask("POST", "/api/events", event())[0] == 502
        assert time.monotonic() - began < LONGEST_S
