"""Structs as the JSON that their rows keep; moments are bare milliseconds."""

from typing import Any, Final

import msgspec

from triggers_api.model.auth import Auth
from triggers_api.model.controls import Controls
from triggers_api.model.job import Job
from triggers_api.model.notice import Notice
from triggers_api.model.organization import ApiKey, Organization
from triggers_api.model.subscription import RetiredSecret, Subscription, SubscriptionRecord
from triggers_api.model.timestamp import Timestamp
from triggers_api.model.worker import Worker


def _encode_moment(value: Any) -> int:  # noqa: ANN401 - msgspec's hook
    if type(value) is Timestamp:
        return int(value)
    raise NotImplementedError(type(value))


def _decode_moment(kind: type, value: Any) -> Timestamp:  # noqa: ANN401 - msgspec's hook
    if kind is Timestamp:
        return Timestamp(value)
    raise NotImplementedError(kind)


encode: Final = msgspec.json.Encoder(enc_hook=_encode_moment).encode
organization: Final = msgspec.json.Decoder(Organization, dec_hook=_decode_moment).decode
api_key: Final = msgspec.json.Decoder(ApiKey, dec_hook=_decode_moment).decode
subscription: Final = msgspec.json.Decoder(Subscription, dec_hook=_decode_moment).decode
controls: Final = msgspec.json.Decoder(Controls, dec_hook=_decode_moment).decode
job: Final = msgspec.json.Decoder(Job, dec_hook=_decode_moment).decode
notice: Final = msgspec.json.Decoder(Notice, dec_hook=_decode_moment).decode
worker: Final = msgspec.json.Decoder(Worker, dec_hook=_decode_moment).decode


class _Private(msgspec.Struct, omit_defaults=True):
    secrets: tuple[str, ...]
    retired: tuple[RetiredSecret, ...] = ()
    auth: Auth | None = None


_texts: Final = msgspec.json.Decoder(tuple[str, ...]).decode
_private: Final = msgspec.json.Decoder(_Private, dec_hook=_decode_moment).decode


def private(record: SubscriptionRecord) -> bytes:
    """What a subscription's row keeps for the service alone: a JSON array of texts.

    The secrets where there is nothing else; otherwise one text, a JSON object. An older process takes
    that for a secret that cannot sign and gives the deliveries back, for a newer one to make.
    """
    kept = _Private(record.secrets, record.retired, record.auth)
    if kept == _Private(record.secrets):
        return encode(record.secrets)
    return encode((encode(kept).decode(),))


def subscription_record(
    organization_id: str, body: bytes, private: bytes, *, from_organization: bool
) -> SubscriptionRecord:
    """A subscription's row; ``private`` is what :func:`private` made of it."""
    texts = _texts(private)
    kept = _private(texts[0]) if texts and texts[0].startswith("{") else _Private(texts)
    return SubscriptionRecord(
        organization_id=organization_id,
        subscription=subscription(body),
        secrets=kept.secrets,
        retired=kept.retired,
        auth=kept.auth,
        from_organization=from_organization,
    )
