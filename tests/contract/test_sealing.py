"""Secrets of subscriptions at rest: what is written, who can read it, how keys change."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contract.conftest import World

from triggers_api.errors import Unavailable
from triggers_api.model.auth import BasicAuth, BearerAuth
from triggers_api.model.subscription import RetiredSecret, SubscriptionRecord
from triggers_api.store.base import Sealed
from triggers_api.store.cipher import Cipher, Unreadable

SECRETS: Final = ("whsec_" + base64.b64encode(b"a secret that signs, 32 bytes...").decode(),)
RETIRED: Final = "whsec_" + base64.b64encode(b"one that signed before, 32 bytes").decode()
AUTH: Final = BasicAuth(username="user-of-the-endpoint", password="password-of-the-endpoint")
PLAIN: Final = (*SECRETS, RETIRED, AUTH.username, AUTH.password)
KNOWN: Final = "sealed:1:e9423272:KXrJCEnI9lVszQ5m80mwqnlQDrvQCO9jQsLEyUAk96+Eabg="
"""What ``key`` made of ``content`` for ``a``, once."""
OLD, NEW = "an-old-key-0123456789", "a-new-key-0123456789"

ROWS: Final = 30
"""More than lie in one page of a file."""
READ: Final = "SELECT secrets FROM subscriptions ORDER BY id"
WRITE: Final = "UPDATE subscriptions SET secrets = $1"


def full(world: World, organization: str, **fields: Any) -> SubscriptionRecord:  # noqa: ANN401
    """A record with everything that is to be kept to ourselves, not stored yet."""
    return msgspec.structs.replace(
        world.record(organization, secrets=SECRETS, **fields),
        retired=(RetiredSecret(RETIRED, world.clock().after(seconds=60)),),
        auth=AUTH,
    )


def saved(world: World, organization: str) -> SubscriptionRecord:
    """Such a record, stored."""
    record = full(world, organization)
    world.run(world.store.save_subscription(record))
    return record


def found(world: World, record: SubscriptionRecord) -> SubscriptionRecord:
    known = world.run(
        world.store.subscription(record.organization_id, record.subscription.id),
    )
    assert known is not None
    return known


def raw(world: World) -> bytes:
    """The column of the only subscription."""
    ((secrets,),) = world.engine.execute(READ)
    return bytes(secrets)


def reopened(world: World, *keys: str) -> None:
    world.engine.secret_keys = keys
    world.run(world.engine.reopen())


def in_the_clear(record: SubscriptionRecord) -> bytes:
    """The column as the version before wrote it."""
    kept = {
        "secrets": record.secrets,
        "retired": [{"secret": old.secret, "until": int(old.until)} for old in record.retired],
        "auth": {"type": "basic", "username": AUTH.username, "password": AUTH.password},
    }
    return json.dumps([json.dumps(kept)]).encode()


# ── what is written ───────────────────────────────────────────────────────────────────────────────


def test_what_is_saved_comes_back_and_is_one_sealed_text_in_the_row(
    world: World, organization: str
) -> None:
    record = saved(world, organization)
    assert found(world, record) == record
    assert world.run(world.store.changes(0)).subscriptions == (record,)
    (text,) = json.loads(raw(world))
    assert re.fullmatch(r"sealed:1:[0-9a-f]{8}:[A-Za-z0-9+/]+=*", text)
    assert world.run(world.store.sealed()) == Sealed(present=1)


def test_what_is_claimed_can_be_signed(world: World, organization: str) -> None:
    record = saved(world, organization)
    world.due(organization, record.subscription.id)
    assert world.claimed().target == record
    world.run(world.engine.crash())


def test_no_file_holds_a_secret_in_the_clear(world: World, organization: str) -> None:
    record = saved(world, organization)
    for _ in range(3):
        rotated = record.rotated(RETIRED, now=0, until=world.clock().after(seconds=60))
        world.run(world.store.save_subscription(rotated))
        world.run(world.store.save_subscription(record))
    searched = 0
    for path in world.engine.files():
        content = path.read_bytes()
        searched += record.subscription.url.encode() in content
        for plain in PLAIN:
            assert plain.encode() not in content, path
            assert plain.removeprefix("whsec_").encode() not in content, path
    assert searched, "the subscription itself is in none of them"


def test_a_row_saved_twice_is_never_the_same(world: World, organization: str) -> None:
    record = saved(world, organization)
    before = raw(world)
    world.run(world.store.save_subscription(record))
    assert raw(world) != before


def test_secrets_put_into_the_row_of_another_subscription_are_not_read(
    world: World, organization: str
) -> None:
    record = saved(world, organization)
    stolen = raw(world)
    for other in (full(world, organization), full(world, world.organization("Other"))):
        world.run(world.store.save_subscription(other))
    world.engine.execute(WRITE, stolen)
    assert found(world, record) == record
    for known in world.run(world.store.changes(0)).subscriptions:
        assert (known.subscription.id == record.subscription.id) == (known.sealed is None)
    assert world.run(world.store.sealed()) == Sealed(present=1, lost=2)


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("keys", [(), (NEW,), (NEW, OLD)], ids=["kept", "given", "two"])
@pytest.mark.parametrize("way", ["reopen", "crash"])
def test_another_process_with_the_same_keys_reads_them(
    world: World, organization: str, keys: tuple[str, ...], way: str
) -> None:
    reopened(world, *keys)
    record = saved(world, organization)
    world.run(world.engine.reopen() if way == "reopen" else world.engine.crash())
    assert found(world, record) == record


def test_a_given_key_after_the_kept_one_reads_what_was_before(
    world: World, organization: str
) -> None:
    record = saved(world, organization)
    reopened(world, NEW)
    assert found(world, record) == record
    assert world.run(world.store.sealed()) == Sealed(old=1)


def test_the_first_key_encrypts_and_all_of_them_decrypt(world: World, organization: str) -> None:
    reopened(world, OLD)
    record = saved(world, organization)
    reopened(world, NEW, OLD)
    assert world.run(world.store.sealed()) == Sealed(old=1)
    assert found(world, record) == record
    world.run(world.store.save_subscription(record))
    assert world.run(world.store.sealed()) == Sealed(present=1)
    reopened(world, NEW)
    assert found(world, record) == record


def test_without_the_key_nothing_is_signed_and_nothing_is_lost(
    world: World, organization: str
) -> None:
    reopened(world, OLD)
    record = saved(world, organization)
    kept = raw(world)
    reopened(world, NEW)
    assert world.run(world.store.sealed()) == Sealed(lost=1)
    unread = found(world, record)
    assert (unread.secrets, unread.retired, unread.auth) == ((), (), None)
    assert unread.subscription == record.subscription
    for use in (
        lambda: unread.signing(world.clock()),
        lambda: unread.rotated(RETIRED, now=0, until=world.clock()),
        lambda: unread.identified_by(BearerAuth(token="t")),
    ):
        with pytest.raises(Unavailable, match="a key that this process does not have"):
            use()
    # Changed in another way, and looked through: what cannot be read stays as it was.
    world.run(world.store.save_subscription(unread))
    assert world.run(world.store.seal()) == 0
    assert raw(world) == kept
    reopened(world, OLD)
    assert found(world, record) == record


def test_a_deleted_subscription_does_not_count_as_lost(world: World, organization: str) -> None:
    reopened(world, OLD)
    record = saved(world, organization)
    world.run(world.store.delete_subscription(organization, record.subscription.id))
    reopened(world, NEW)
    assert world.run(world.store.sealed()) == Sealed()


# ── encrypted anew ────────────────────────────────────────────────────────────────────────────────


def test_everything_is_encrypted_anew_and_is_what_it_was(world: World, organization: str) -> None:
    reopened(world, OLD)
    records = [saved(world, organization) for _ in range(5)]
    records += [full(world, world.organization("Other"))]
    world.run(world.store.save_subscription(records[-1]))
    world.run(world.store.delete_subscription(organization, records[0].subscription.id))
    reopened(world, NEW, OLD)
    version = world.run(world.store.changes(0)).version
    assert world.run(world.store.sealed()) == Sealed(old=6)
    assert world.run(world.store.seal()) == 6
    assert world.run(world.store.seal()) == 0
    assert world.run(world.store.sealed()) == Sealed(present=6)
    assert world.run(world.store.changes(0)).version == version
    reopened(world, NEW)
    for record in records[1:]:
        assert found(world, record) == record


@pytest.mark.parametrize("form", ["secrets", "everything"])
def test_rows_in_the_clear_are_read_and_leave_no_trace_when_they_are_encrypted(
    world: World, organization: str, form: str
) -> None:
    records = [saved(world, organization) for _ in range(ROWS)]
    if form == "secrets":
        records = [msgspec.structs.replace(each, retired=(), auth=None) for each in records]
        world.engine.execute(WRITE, json.dumps(SECRETS).encode())
    else:
        world.engine.execute(WRITE, in_the_clear(records[0]))
    assert [found(world, record) for record in records] == records
    assert world.run(world.store.sealed()) == Sealed(clear=ROWS)
    assert world.run(world.store.seal()) == ROWS
    assert world.run(world.store.sealed()) == Sealed(present=ROWS)
    assert [found(world, record) for record in records] == records
    if world.engine.is_shared:
        # What PostgreSQL leaves of a row that was changed, and of its log, is its operator's matter.
        return
    world.run(world.engine.reopen())
    for path in world.engine.files():
        for plain in PLAIN:
            assert plain.encode() not in path.read_bytes(), path


def test_a_row_in_the_clear_is_encrypted_when_it_is_saved_next(
    world: World, organization: str
) -> None:
    record = saved(world, organization)
    world.engine.execute(WRITE, in_the_clear(record))
    world.run(world.store.save_subscription(found(world, record)))
    assert world.run(world.store.sealed()) == Sealed(present=1)
    assert found(world, record) == record


def test_what_a_version_that_does_not_encrypt_made_of_a_sealed_row_is_read(
    world: World, organization: str
) -> None:
    record = saved(world, organization)
    (sealed,) = json.loads(raw(world))
    until = world.clock().after(seconds=60)
    # It takes what is sealed for a secret: replaces it, and keeps it for a while beside the new one.
    rotated = {"secrets": ["whsec_new"], "retired": [{"secret": sealed, "until": int(until)}]}
    world.engine.execute(WRITE, json.dumps([json.dumps(rotated)]).encode())
    known = found(world, record)
    assert known.secrets == ("whsec_new",)
    assert known.retired == (RetiredSecret(SECRETS[0], until), *record.retired)
    assert known.auth == AUTH
    # Or gives it other credentials.
    given = {"secrets": [sealed], "auth": {"type": "bearer", "token": "t"}}
    world.engine.execute(WRITE, json.dumps([json.dumps(given)]).encode())
    assert found(world, record) == msgspec.structs.replace(record, auth=BearerAuth(token="t"))


def test_what_others_save_while_rows_are_encrypted_anew_stands(
    shared_world: World,
) -> None:
    world = shared_world
    organization = world.organization()
    records = [saved(world, organization) for _ in range(20)]
    changed = [each.rotated(RETIRED, now=0, until=world.clock()) for each in records]
    world.engine.execute(WRITE, b'["whsec_c2VjcmV0"]')

    async def both() -> None:
        saving = (world.store.save_subscription(each) for each in changed)
        await asyncio.gather(world.store.seal(), *saving, world.store.seal())

    world.run(both())
    for record in changed:
        assert found(world, record) == record
    assert world.run(world.store.sealed()).clear == 0


# ── the cipher ────────────────────────────────────────────────────────────────────────────────────


@given(st.binary(max_size=300), st.text(max_size=20), st.binary(min_size=1), st.binary(min_size=1))
def test_what_was_sealed_opens_with_its_key_for_its_owner_alone(
    content: bytes, whose: str, key: bytes, other: bytes
) -> None:
    cipher = Cipher(key)
    sealed = cipher.seal(content, whose=whose)
    assert cipher.open(sealed, whose=whose) == content
    assert Cipher(other, key).open(sealed, whose=whose) == content
    with pytest.raises(Unreadable):
        cipher.open(sealed, whose=f"{whose}x")
    if other != key:
        with pytest.raises(Unreadable):
            Cipher(other).open(sealed, whose=whose)


@given(st.data())
def test_what_was_altered_does_not_open(data: st.DataObject) -> None:
    cipher = Cipher(b"key")
    sealed = cipher.seal(b"content", whose="a")
    place = data.draw(st.integers(0, len(sealed) - 1))
    letter = data.draw(st.sampled_from("AZaz09+/=:-. \n"))
    altered = sealed[:place] + letter + sealed[place + 1 :]
    if altered != sealed:
        with pytest.raises(Unreadable):
            cipher.open(altered, whose="a")


def test_another_spelling_of_the_same_bytes_does_not_open() -> None:
    cipher = Cipher(b"key")
    sealed = cipher.seal(b"content", whose="a")
    # Of the last letter before the padding two bits mean nothing.
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    number = letters.index(sealed[-2])
    assert sealed.endswith("=")
    for other in range(number - number % 4, number - number % 4 + 4):
        altered = f"{sealed[:-2]}{letters[other]}="
        if altered == sealed:
            assert cipher.open(altered, whose="a") == b"content"
        else:
            with pytest.raises(Unreadable):
                cipher.open(altered, whose="a")


def test_a_key_id_is_stable_and_tells_keys_apart() -> None:
    # Written down: a key that gets another id, or derives another key, reads nothing of before.
    assert Cipher(b"key").key_id == "e9423272"
    assert Cipher(b"key").open(KNOWN, whose="a") == b"content"
    assert Cipher(b"key").key_id != Cipher(b"other").key_id


def test_the_kept_key_never_encrypts_where_one_is_given() -> None:
    assert Cipher.of((NEW,), b"kept").key_id == Cipher(NEW.encode()).key_id
    assert Cipher.of((), b"kept").key_id == Cipher(b"kept").key_id
