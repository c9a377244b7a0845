"""A subscription: who wants which events, and how they are sent."""

from enum import StrEnum
from typing import Final, Self

import msgspec

from triggers_api.errors import Unavailable
from triggers_api.model.auth import Auth, AuthShown
from triggers_api.model.text import glob_matches
from triggers_api.model.timestamp import Timestamp


class SubscriptionStatus(StrEnum):
    """Whether a subscription takes part in routing and delivery.

    ``paused`` still matches events, which wait; ``disabled`` and ``expired`` match nothing.
    """

    ACTIVE = "active"
    PAUSED = "paused"
    DISABLED = "disabled"
    EXPIRED = "expired"


MATCHING: Final = frozenset({SubscriptionStatus.ACTIVE, SubscriptionStatus.PAUSED})


SESSION_URL: Final = "listen:"
"""In place of a URL: deliveries are not sent, a session fetches them (``deliver/sessions.py``)."""


class PayloadFormat(StrEnum):
    """What a receiver gets: an envelope around the payload, the payload alone, or beside attributes."""

    STANDARD = "standard"
    RAW = "raw"
    FLAT = "flat"
    CLOUDEVENTS = "cloudevents"
    CLOUDEVENTS_BINARY = "cloudevents-binary"


class SignatureScheme(StrEnum):
    """How deliveries are signed: with a secret that both sides know, or with a key pair."""

    V1 = "v1"
    V1A = "v1a"


class Ordering(StrEnum):
    """What is sent one after the other, in the order of acceptance: nothing, each key, everything."""

    NONE = "none"
    KEY = "key"
    STRICT = "strict"


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription as the API shows it: never with what it signs or identifies itself with.

    ``None`` in ``retry_schedule``, ``timeout_s`` and ``max_concurrency`` means the service's own
    setting at the time of sending. ``public_key`` is there with ``v1a`` only. An ``operational`` one
    gets the service's own events, and no others. A ``hook`` was made by a no-code tool, which is told
    when it ends.
    """

    id: str
    url: str
    event_types: tuple[str, ...]
    filter: str | None = None
    operational: bool = False
    description: str | None = None
    headers: dict[str, str] | None = None
    auth: AuthShown | None = None
    payload_format: PayloadFormat = PayloadFormat.STANDARD
    signature: SignatureScheme = SignatureScheme.V1
    public_key: str | None = None
    retry_schedule: tuple[float, ...] | None = None
    timeout_s: float | None = None
    rate_limit: float | None = None
    max_concurrency: int | None = None
    ordering: Ordering = Ordering.NONE
    enabled: bool = True
    expires_at: Timestamp | None = None
    metadata: dict[str, str] | None = None
    hook: bool = False
    status: SubscriptionStatus
    disabled_reason: str | None = None
    created_at: Timestamp
    updated_at: Timestamp

    @property
    def by_session(self) -> bool:
        """Whether a session fetches what others would be sent."""
        return self.url == SESSION_URL

    def status_at(self, now: int) -> SubscriptionStatus:
        """The status at a moment: an active or paused one past its ``expires_at`` has expired."""
        if self.expires_at is not None and self.expires_at <= now and self.status in MATCHING:
            return SubscriptionStatus.EXPIRED
        return self.status

    def order_key(self, key: str | None) -> str | None:
        """The line in which an event with this key waits for its turn; ``None``: in no order."""
        if self.ordering is Ordering.STRICT:
            return ""
        return key if self.ordering is Ordering.KEY else None

    def wants_type(self, event_type: str) -> bool:
        """Whether one of its patterns matches the type."""
        return any(glob_matches(pattern, event_type) for pattern in self.event_types)


class RetiredSecret(msgspec.Struct, frozen=True):
    """A secret that another one has replaced, and that signs beside it for a while."""

    secret: str
    until: Timestamp


class SubscriptionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription with what only the service may know.

    Attributes:
        secrets: ``whsec_…`` or ``whsk_…`` texts that sign.
        retired: those before them, the latest first; judged when something is signed, so that they
            end at their time whatever else runs or does not.
        auth: what deliveries say who they are with.
        sealed: secrets, retired and auth as the row keeps them, where this process has no key for
            them; the three are then empty.
        from_organization: it is kept for the organization's ``webhook_url``.
    """

    organization_id: str
    subscription: Subscription
    secrets: tuple[str, ...]
    retired: tuple[RetiredSecret, ...] = ()
    auth: Auth | None = None
    sealed: str | None = None
    from_organization: bool = False

    def signing(self, at: int) -> tuple[str, ...]:
        """The secrets that sign at a moment, the newest first.

        Raises:
            Unavailable: this process cannot read them.
        """
        self._check_readable()
        if not self.retired:
            return self.secrets
        return self.secrets + tuple(old.secret for old in self.retired if old.until > at)

    def rotated(self, secret: str, *, now: int, until: Timestamp) -> Self:
        """The record with a new secret. Those before it sign ``until`` then, and none longer.

        Raises:
            Unavailable: this process cannot read those before it.
        """
        self._check_readable()
        retired = [RetiredSecret(old, until) for old in self.secrets]
        retired += [RetiredSecret(old.secret, min(old.until, until)) for old in self.retired]
        return msgspec.structs.replace(
            self,
            secrets=(secret,),
            retired=tuple(old for old in retired if old.until > now),
        )

    def identified_by(self, auth: Auth | None) -> Self:
        """The record with other credentials, or none.

        Raises:
            Unavailable: this process cannot read the secrets beside them.
        """
        self._check_readable()
        return msgspec.structs.replace(self, auth=auth)

    def _check_readable(self) -> None:
        if self.sealed is not None:
            raise Unavailable(
                "the subscription's secrets are encrypted under a key that this process does not have"
            )
