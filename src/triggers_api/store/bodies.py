"""Structs of the settings half as the JSON that their rows keep; moments are bare milliseconds."""

from typing import Any, Final

import msgspec

from triggers_api.model.controls import Controls
from triggers_api.model.organization import ApiKey, Organization
from triggers_api.model.subscription import Subscription
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
secrets: Final = msgspec.json.Decoder(tuple[str, ...]).decode
worker: Final = msgspec.json.Decoder(Worker, dec_hook=_decode_moment).decode
