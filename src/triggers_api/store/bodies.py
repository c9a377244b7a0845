"""Structs as the JSON that their rows keep; moments are bare milliseconds."""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any, Final

import msgspec

from triggers_api.model.attempt import AttemptDetails, request_headers, timings
from triggers_api.model.audit import Actor, Change
from triggers_api.model.auth import Auth
from triggers_api.model.controls import Controls, Switches
from triggers_api.model.delivery import Delivery
from triggers_api.model.event_type import EventType
from triggers_api.model.job import Job
from triggers_api.model.notice import Notice
from triggers_api.model.organization import ApiKey, Organization
from triggers_api.model.rollup import Tally
from triggers_api.model.subscription import RetiredSecret, Subscription, SubscriptionRecord
from triggers_api.model.timestamp import Timestamp
from triggers_api.model.worker import Worker
from triggers_api.store.cipher import SEALED, Cipher, Unreadable


def _encode_moment(value: Any) -> int:  # noqa: ANN401 - msgspec's hook
    if type(value) is Timestamp:
        return int(value)
    raise NotImplementedError(type(value))


def _decode_moment(kind: type, value: Any) -> Timestamp:  # noqa: ANN401 - msgspec's hook
    if kind is Timestamp:
        return Timestamp(value)
    raise NotImplementedError(kind)


class AuditBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What of an audit entry no column has."""

    actor: Actor
    changes: tuple[Change, ...] = ()
    detail: str | None = None


encode: Final = msgspec.json.Encoder(enc_hook=_encode_moment).encode
organization: Final = msgspec.json.Decoder(Organization, dec_hook=_decode_moment).decode
api_key: Final = msgspec.json.Decoder(ApiKey, dec_hook=_decode_moment).decode
subscription: Final = msgspec.json.Decoder(Subscription, dec_hook=_decode_moment).decode
event_type: Final = msgspec.json.Decoder(EventType, dec_hook=_decode_moment).decode
controls: Final = msgspec.json.Decoder(Controls, dec_hook=_decode_moment).decode
switches: Final = msgspec.json.Decoder(Switches, dec_hook=_decode_moment).decode
job: Final = msgspec.json.Decoder(Job, dec_hook=_decode_moment).decode
notice: Final = msgspec.json.Decoder(Notice, dec_hook=_decode_moment).decode
worker: Final = msgspec.json.Decoder(Worker, dec_hook=_decode_moment).decode
audit: Final = msgspec.json.Decoder(AuditBody).decode
attempt_details: Final = msgspec.json.Decoder(AttemptDetails).decode
encode_tally: Final = msgspec.msgpack.Encoder().encode
tally: Final = msgspec.msgpack.Decoder(Tally).decode


def turned(rows: Iterable[Any]) -> tuple[Controls | None, tuple[Switches, ...]]:
    """What ``changed_switches`` found: the row that other versions read, and what was turned."""
    older: Controls | None = None
    found: list[Switches] = []
    for body, is_older in rows:
        if is_older:
            older = controls(body)
        else:
            found.append(switches(body))
    return older, tuple(found)


class Sealing(StrEnum):
    """How the private half of a subscription's row is kept."""

    PRESENT = "present"
    """Encrypted under the key that is in use."""
    OLD = "old"
    """Encrypted under another one of the keys."""
    CLEAR = "clear"
    """As it is, by a version that did not encrypt."""
    LOST = "lost"
    """Encrypted under a key that is not here, or damaged."""


class _Private(msgspec.Struct, omit_defaults=True):
    secrets: tuple[str, ...]
    retired: tuple[RetiredSecret, ...] = ()
    auth: Auth | None = None


_texts: Final = msgspec.json.Decoder(tuple[str, ...]).decode
_private: Final = msgspec.json.Decoder(_Private, dec_hook=_decode_moment).decode


def used_key(body: bytes, used_at: int | None) -> ApiKey:
    """A key's row, with when it was last used."""
    key = api_key(body)
    if used_at is None:
        return key
    return msgspec.structs.replace(key, last_used_at=Timestamp(used_at))


def private(record: SubscriptionRecord, cipher: Cipher) -> bytes:
    """What a subscription's row keeps for the service alone: a JSON array of one sealed text.

    An older process takes that for a secret that cannot sign and gives the deliveries back, for a newer
    one to make; saved by it, the text stays what it is.
    """
    if record.sealed is not None:
        return encode((record.sealed,))
    kept = encode(_Private(record.secrets, record.retired, record.auth))
    whose = _whose(record.organization_id, record.subscription.id)
    return encode((cipher.seal(kept, whose=whose),))


def subscription_record(
    organization_id: str, body: bytes, private: bytes, cipher: Cipher, *, from_organization: bool
) -> SubscriptionRecord:
    """A subscription's row; ``private`` is what :func:`private` made of it, of this version or before.

    What cannot be opened stays as it is in ``sealed``, and nothing is signed with it.
    """
    shown = subscription(body)
    sealed = None
    try:
        kept = _opened(private, cipher, _whose(organization_id, shown.id))
    except Unreadable:
        # One text; a version that did not encrypt may have put secrets of its own beside what is sealed.
        texts = _texts(private)
        sealed = next((each for each in texts if each.startswith(SEALED)), texts[0])
        kept = _Private(())
    return SubscriptionRecord(
        organization_id=organization_id,
        subscription=shown,
        secrets=kept.secrets,
        retired=kept.retired,
        auth=kept.auth,
        sealed=sealed,
        from_organization=from_organization,
    )


def sealing(
    organization_id: str, subscription_id: str, private: bytes, cipher: Cipher
) -> tuple[Sealing, bytes]:
    """How a row's private half is kept, and what it is to be instead, which may be the same."""
    texts = _texts(private)
    whose = _whose(organization_id, subscription_id)
    try:
        kept = _opened(private, cipher, whose)
    except Unreadable:
        return Sealing.LOST, private
    if not _is_sealed(texts):
        found = Sealing.CLEAR
    elif cipher.is_present(texts[0]):
        return Sealing.PRESENT, private
    else:
        found = Sealing.OLD
    return found, encode((cipher.seal(encode(kept), whose=whose),))


def _opened(private: bytes, cipher: Cipher, whose: str) -> _Private:
    texts = _texts(private)
    if _is_sealed(texts):
        return _private(cipher.open(texts[0], whose=whose))
    # Versions that did not encrypt: the secrets, or one text that is an object.
    kept = _private(texts[0]) if texts and texts[0].startswith("{") else _Private(texts)
    # Such a version beside this one takes what is sealed for a secret, and keeps it among its own.
    inside = _Private(())
    for secret in (*kept.secrets, *(old.secret for old in kept.retired)):
        if secret.startswith(SEALED):
            inside = _private(cipher.open(secret, whose=whose))
    return _Private(
        tuple(_each(kept.secrets, inside)),
        tuple(
            RetiredSecret(secret, old.until)
            for old in kept.retired
            for secret in _each((old.secret,), inside)
        )
        + inside.retired,
        kept.auth or inside.auth,
    )


def _each(secrets: tuple[str, ...], inside: _Private) -> Iterator[str]:
    for secret in secrets:
        yield from inside.secrets if secret.startswith(SEALED) else (secret,)


def _is_sealed(texts: tuple[str, ...]) -> bool:
    return len(texts) == 1 and texts[0].startswith(SEALED)


def _whose(organization_id: str, subscription_id: str) -> str:
    return f"{organization_id}/{subscription_id}"


def shown_details(body: bytes | None, delivery: Delivery, number: int) -> dict[str, Any]:
    """The fields of an attempt that its ``details`` hold; empty for one that has none."""
    if body is None:
        return {}
    details = attempt_details(body)
    return {
        "request_headers": request_headers(
            details,
            event_id=delivery.event_id,
            event_type=delivery.event_type,
            delivery_id=delivery.id,
            number=number,
        ),
        "response_headers": details.response,
        "timings": timings(details),
    }
