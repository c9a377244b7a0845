"""The commands and programs of the tutorial and the how-to pages, run as they stand."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path
from typing import Any, Final

import pytest
from tests.docs.console import DATABASE, REDIS, Failed, Session, has, missing_line
from tests.docs.pages import ROOT, code_blocks, name_of
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer

from triggers_api.deliver.signature import new_secret, public_key, sign
from triggers_api.model.subscription import SignatureScheme

DOCS: Final = ROOT / "docs"
RUNBOOK: Final = [
    page for page in sorted((DOCS / "operate").glob("*.md")) if "\n```console\n" in page.read_text()
]
PAGES: Final = [DOCS / "tutorial.md", *sorted((DOCS / "how-to").glob("*.md")), *RUNBOOK]
BY_HAND: Final = DOCS / "how-to" / "receive-and-verify.md"


def needs(page: Path) -> list[str]:
    """The programs a page uses that neither Python nor this project brings."""
    text = " ".join(block.text for block in code_blocks(page))
    return [name for name in ("node", "openssl") if re.search(rf"(^|\s){name} ", text)]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_does_what_it_says(
    page: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    for program in needs(page):
        if not has(program):
            pytest.skip(f"{program} is missing: {name_of(page)} was not run")
    database_url = DATABASE
    if any(DATABASE in block.text for block in code_blocks(page)):
        postgres: Postgres = request.getfixturevalue("postgres")
        database_url = postgres.url(postgres.create_database())
    redis_port = None
    if any(REDIS in block.text for block in code_blocks(page)):
        redis: RedisServer = request.getfixturevalue("redis")
        redis.call("FLUSHALL")
        redis_port = redis.port
    with Session(tmp_path, database_url=database_url, redis_port=redis_port) as session:
        session.run_page(page)
    assert session.commands


def test_the_page_about_receiving_is_known_to_need_more_than_python() -> None:
    assert needs(BY_HAND) == ["node", "openssl"]


def test_the_script_for_verifying_by_hand_agrees_with_what_the_service_signs(
    tmp_path: Path,
) -> None:
    if not has("openssl"):
        pytest.skip("openssl is missing: verify.sh was not run")
    (script,) = (block.text for block in code_blocks(BY_HAND) if block.language == "sh")
    (tmp_path / "verify.sh").write_text(script)
    body = '{"type":"order.created","data":{"name":"Zoë","big":10000000000000000000001}}'.encode()
    (tmp_path / "body").write_bytes(body)
    secret = new_secret()
    printed = subprocess.run(
        ["sh", "verify.sh", secret, "evt_1", "1795389871", "body"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    assert printed.strip() == sign([secret], message_id="evt_1", timestamp=1795389871, body=body)


def test_the_function_for_verifying_with_a_public_key_agrees_with_what_the_service_signs() -> None:
    (program,) = (b.text for b in code_blocks(BY_HAND) if b.text.startswith("# verify_v1a.py"))
    page: dict[str, Any] = {}
    exec(compile(program, "verify_v1a.py", "exec"), page)
    key, other = (new_secret(SignatureScheme.V1A) for _ in range(2))
    body, now = b'{"type":"order.created"}', int(time.time())

    def verifies(*secrets: str, at: int = now, received: bytes = body) -> bool:
        signature = sign(secrets, message_id="evt_1", timestamp=at, body=body)
        headers = {
            "webhook-id": "evt_1", "webhook-timestamp": str(at), "webhook-signature": signature,
        }  # fmt: skip
        found: bool = page["verifies"](public_key(SignatureScheme.V1A, key), headers, received)
        return found

    assert verifies(key)
    assert verifies(new_secret(), other, key)
    assert not verifies(other)
    assert not verifies(new_secret())
    assert not verifies(key, received=body + b" ")
    assert not verifies(key, at=now - 400)


# ── the runner itself ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("```console\n$ false\n```", "exit code 1"),
        ("```console\n$ echo one\ntwo\n```", "did not print 'two'"),
        ("```console\n$ echo one; echo two\ntwo\none\n```", "did not print 'one'"),
        ("```console\n$ echo evt_…\n```", "no evt_ was printed"),
        ("```console\nwhat nobody prints\n```", "none runs"),
        ("```console\n$ make nonsense\n```", "nonsense"),
        ("```console\n$ triggers serve --port nonsense\n```", "TRIGGERS|--port"),
        ("```python\nprint(1)\n```", "needs its file's name"),
        ("```sh\necho 1\n```", "needs its file's name"),
    ],
)
def test_a_page_that_does_not_do_what_it_says_is_found_out(
    tmp_path: Path, page: str, words: str
) -> None:
    written = tmp_path / "page.md"
    written.write_text(page)
    folder = tmp_path / "folder"
    folder.mkdir()
    with Session(folder) as session, pytest.raises(Failed, match=words):
        session.run_page(written)


def test_a_refusal_that_the_page_does_not_show_is_found_out(tmp_path: Path) -> None:
    start = "```console\n$ triggers serve\n  Triggers API …\n```\n"
    ask = "```console\n$ curl -i http://127.0.0.1:8000/api/events\n"
    (tmp_path / "shown.md").write_text(f"{start}{ask}HTTP/1.1 401 Unauthorized\n```\n")
    (tmp_path / "hidden.md").write_text(f"{ask}```\n")
    folder = tmp_path / "folder"
    folder.mkdir()
    with Session(folder) as session:
        session.run_page(tmp_path / "shown.md")
        with pytest.raises(Failed, match="was refused"):
            session.run_page(tmp_path / "hidden.md")


def test_three_dots_stand_for_anything_and_an_id_for_any_id() -> None:
    printed = '{"id":"evt_01a2055c62fa70000000000000000000","type":"a"}\nsecond\n'
    assert missing_line(['{"id":"evt_…"…', "second"], printed) is None
    assert missing_line(['{"id":"evt_01a2…","type":"a"}'], printed) is None
    assert missing_line(['{"id":"sub_…"…'], printed) == '{"id":"sub_…"…'
    assert missing_line(["sec"], printed) == "sec"
    assert missing_line(["second", '{"id":…'], printed) == '{"id":…'
