"""The audit log: who changed what, and when. Pure.

A :class:`Deed` is what was done, worked out from what was there before and what is there now; an
:class:`Entry` is a deed with who did it and when, as it is kept and shown. What is secret is in neither:
of a secret, of credentials, of payloads and of headers' values an entry says that they changed.
"""

import hashlib
from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from triggers_api.model.controls import Switches
from triggers_api.model.event_type import NOTHING, EventType
from triggers_api.model.inbox import Inbox
from triggers_api.model.job import Job
from triggers_api.model.organization import ApiKey, Organization
from triggers_api.model.subscription import (
    SESSION_URL,
    Subscription,
    SubscriptionRecord,
    SubscriptionStatus,
)
from triggers_api.model.timestamp import Timestamp

VALUE_BYTES: Final = 1024
"""What is longer, as JSON, is kept as its length and digest."""


class ActorType(StrEnum):
    """Who may do something: the holder of a key, somebody at the machine, or the service by itself.

    ``operator`` holds a key that belongs to no organization.
    """

    KEY = "key"
    OPERATOR = "operator"
    COMMAND = "command"
    SERVICE = "service"


class Actor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who does something.

    Attributes:
        type: what kind of actor.
        key_id: the key that was used.
        organization_id: the organization that the key belongs to.
        request_id: of the request that asked for it.
        address: where the request came from, as far as the proxies that are trusted know.
        command: the command that was run at the machine.
    """

    type: ActorType
    key_id: str | None = None
    organization_id: str | None = None
    request_id: str | None = None
    address: str | None = None
    command: str | None = None

    @property
    def name(self) -> str:
        """What entries are found by: the key's id, else the type."""
        return self.type.value if self.key_id is None else self.key_id


SERVICE: Final = Actor(type=ActorType.SERVICE)


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """One field, as it was and as it is now; ``None`` is one that is not there.

    ``hidden``: it is secret, or part of what a customer sent. That it changed is all that is told.
    """

    field: str
    before: Any = None
    after: Any = None
    hidden: bool = False


class Deed(msgspec.Struct, frozen=True, kw_only=True):
    """What was done.

    Attributes:
        action: in stable dotted names, the resource's first.
        resource_type: what it was done to.
        resource_id: its id, or its name where it has none.
        organization_id: whose it is; ``None`` for what is the service's as a whole.
        changes: field by field.
        detail: more, for a person.
    """

    action: str
    resource_type: str
    resource_id: str
    organization_id: str | None
    changes: tuple[Change, ...] = ()
    detail: str | None = None


class Resource(msgspec.Struct, frozen=True):
    """What something was done to."""

    type: str
    id: str


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One deed on file; ``id`` begins with ``aud_`` and sorts by when it was done."""

    id: str
    at: Timestamp
    action: str
    actor: Actor
    organization_id: str | None
    resource: Resource
    changes: tuple[Change, ...] = ()
    detail: str | None = None

    def shown_to(self, organization_id: str) -> "Entry":
        """The entry as an organization sees it: which operator it was, and from where, is not told."""
        if self.actor.organization_id == organization_id or self.actor.key_id is None:
            return self
        return msgspec.structs.replace(self, actor=Actor(type=self.actor.type))


# ── what was done ────────────────────────────────────────────────────────────────────────────────

_TIMES: Final = frozenset({"created_at", "updated_at"})


def organization_deed(before: Organization | None, after: Organization) -> Deed | None:
    """Of an organization that is made or changed; ``None`` if nothing is."""
    changes = _compared(_fields(before), _fields(after), left_out=_TIMES | {"id"})
    return _saved("organization", after.id, after.id, changes, is_new=before is None)


def organization_deleted(organization_id: str) -> Deed:
    """Of an organization's end. It is about the service, and stays when all of the organization goes."""
    return Deed(
        action="organization.deleted",
        resource_type="organization",
        resource_id=organization_id,
        organization_id=None,
    )


def organization_erased(organization_id: str, how: str) -> Deed:
    """Of an organization of which everything is to go (``erasing``), or has gone (``erased``)."""
    return Deed(
        action=f"organization.{how}",
        resource_type="organization",
        resource_id=organization_id,
        organization_id=None,
    )


def key_deed(organization_id: str | None, before: ApiKey | None, after: ApiKey) -> Deed | None:
    """Of a key that is made, revoked or otherwise changed; ``None`` if nothing is."""
    changes = _compared(_fields(before), _fields(after), left_out=_TIMES | {"id", "last_used_at"})
    if before is not None and before.revoked_at is None and after.revoked_at is not None:
        return Deed(
            action="key.revoked",
            resource_type="key",
            resource_id=after.id,
            organization_id=organization_id,
            changes=(Change("name", after.name, after.name), *changes),
        )
    return _saved("key", after.id, organization_id, changes, is_new=before is None)


def key_rotated(organization_id: str | None, before: ApiKey, after: ApiKey, fresh: ApiKey) -> Deed:
    """Of a key that ends because another one was made in its place."""
    return Deed(
        action="key.rotated",
        resource_type="key",
        resource_id=before.id,
        organization_id=organization_id,
        changes=(
            Change("replaced_by", None, fresh.id),
            *_compared(_fields(before), _fields(after), left_out={"last_used_at"}),
        ),
    )


def subscription_deed(before: SubscriptionRecord | None, after: SubscriptionRecord) -> Deed | None:
    """Of a subscription that is made or changed; ``None`` if nothing is.

    That a session is alive still, which moves its end on, is no change.
    """
    now = after.subscription
    left_out = _TIMES | {"id", "public_key", "auth", "headers"}
    if now.by_session:
        left_out |= {"expires_at"}
    then = None if before is None else before.subscription
    changes = _compared(_shown(then), _shown(now), left_out=left_out)
    changes += _hidden_changes(before, after)
    resource = _kind(now)
    if before is None or then is None:
        return _saved(resource, now.id, after.organization_id, changes, is_new=True)
    if not changes:
        return None
    named = {change.field for change in changes}
    return Deed(
        action=f"{resource}.{_verb(then.status, now.status, named)}",
        resource_type=resource,
        resource_id=now.id,
        organization_id=after.organization_id,
        changes=tuple(changes),
    )


def subscription_ended(record: SubscriptionRecord, how: str) -> Deed:
    """Of a subscription that is ``deleted`` or has ``expired``, with what it was."""
    subscription = record.subscription
    shown = {
        name: value
        for name, value in (_shown(subscription) or {}).items()
        if name in {"url", "event_types", "status", "expires_at"}
    }
    return Deed(
        action=f"{_kind(subscription)}.{how}",
        resource_type=_kind(subscription),
        resource_id=subscription.id,
        organization_id=record.organization_id,
        changes=tuple(_compared(shown, None)),
    )


def event_type_deed(
    organization_id: str, before: EventType | None, after: EventType | None
) -> Deed | None:
    """Of an event type that is made, changed or (``after`` is ``None``) deleted."""
    known = after or before
    assert known is not None
    changes = _compared(
        _fields(before), _fields(after), left_out=_TIMES | {"name"}, hidden={"example"}
    )
    if after is None:
        return Deed(
            action="event_type.deleted",
            resource_type="event_type",
            resource_id=known.name,
            organization_id=organization_id,
            changes=tuple(changes),
        )
    return _saved("event_type", known.name, organization_id, changes, is_new=before is None)


def inbox_deed(organization_id: str, before: Inbox | None, after: Inbox | None) -> Deed | None:
    """Of an inbox that is made, changed or (``after`` is ``None``) deleted."""
    known = after or before
    assert known is not None
    changes = _compared(_fields(before), _fields(after), left_out=_TIMES | {"name"})
    if after is None:
        return Deed(
            action="inbox.deleted",
            resource_type="inbox",
            resource_id=known.name,
            organization_id=organization_id,
            changes=tuple(changes),
        )
    return _saved("inbox", known.name, organization_id, changes, is_new=before is None)


def switches_deed(before: Switches | None, after: Switches) -> Deed | None:
    """Of switches of a scope that are turned, for good or for a while; ``None`` if nothing changed.

    Who turns one to what it is already, or says why, changes what is shown of it.
    """
    changes = _compared(_turned(before), _turned(after)) or _compared(_said(before), _said(after))
    if not changes:
        return None
    return Deed(
        action="controls.changed",
        resource_type="controls",
        resource_id=after.subscription_id or after.organization_id or "service",
        organization_id=after.organization_id,
        changes=tuple(changes),
        detail=after.reason,
    )


def _turned(switches: Switches | None) -> dict[str, Any]:
    if switches is None:
        return {}
    return {
        name: turn.value
        if turn.expires_at is None
        else {"value": turn.value, "expires_at": str(turn.expires_at)}
        for name, turn in switches.turns.items()
    }


def _said(switches: Switches | None) -> dict[str, Any]:
    if switches is None:
        return {}
    return {"reason": switches.reason, "updated_by": switches.updated_by}


def secrets_sealed(count: int) -> Deed:
    """Of the secrets of so many subscriptions that are encrypted anew."""
    return Deed(
        action="secrets.sealed",
        resource_type="secrets",
        resource_id="subscriptions",
        organization_id=None,
        detail=f"{count} subscriptions",
    )


def queue_worked(how: str) -> Deed:
    """Of work on what waits that an operator asked for, written down before it is done."""
    return Deed(
        action=f"queue.{how}_requested",
        resource_type="queue",
        resource_id="service",
        organization_id=None,
    )


def records_repaired(check: str, count: int) -> Deed:
    """Of records that were mended."""
    return Deed(
        action="records.repaired",
        resource_type="records",
        resource_id=check,
        organization_id=None,
        detail=f"{count} mended",
    )


def job_deed(organization_id: str, job: Job, how: str) -> Deed:
    """Of a job that is ``created``, ``cancelled`` or has ``finished``."""
    about = {"kind": job.kind, "dry_run": job.dry_run}
    if how == "created":
        about |= {"rate": job.rate, **(_fields(job.selection) or {})}
    else:
        about |= {"status": job.status, "total": job.total, "done": job.done, "failed": job.failed}
    return Deed(
        action=f"job.{how}",
        resource_type="job",
        resource_id=job.id,
        organization_id=organization_id,
        changes=tuple(_compared(None, _plain(about))),
    )


def by_hand(
    action: str,
    organization_id: str,
    resource_id: str,
    *,
    hidden: tuple[str, ...] = (),
    **fields: object,
) -> Deed:
    """Of what somebody does to one event, delivery or subscription, with fields as they are to be.

    Args:
        action: what; its first word is the kind of the resource.
        organization_id: whose.
        resource_id: of what.
        hidden: fields that are replaced, and not shown.
        fields: others.
    """
    return Deed(
        action=action,
        resource_type=action.partition(".")[0],
        resource_id=resource_id,
        organization_id=organization_id,
        changes=(
            *_compared(None, _plain(fields)),
            *(Change(name, hidden=True) for name in hidden),
        ),
    )


def _saved(
    resource: str,
    identifier: str,
    organization_id: str | None,
    changes: list[Change],
    *,
    is_new: bool,
) -> Deed | None:
    if not changes and not is_new:
        return None
    return Deed(
        action=f"{resource}.{'created' if is_new else 'updated'}",
        resource_type=resource,
        resource_id=identifier,
        organization_id=organization_id,
        changes=tuple(changes),
    )


def _kind(subscription: Subscription) -> str:
    if subscription.by_session:
        return "session"
    return "hook" if subscription.hook else "subscription"


def _verb(before: SubscriptionStatus, after: SubscriptionStatus, named: Collection[str]) -> str:
    if before is not after:
        match after:
            case SubscriptionStatus.PAUSED:
                return "paused"
            case SubscriptionStatus.DISABLED:
                return "disabled"
            case SubscriptionStatus.ACTIVE:
                return "resumed" if before is SubscriptionStatus.PAUSED else "enabled"
    return "secret_rotated" if set(named) == {"secret"} else "updated"


def _shown(subscription: Subscription | None) -> dict[str, Any] | None:
    fields = _fields(subscription)
    if subscription is None or fields is None:
        return None
    return fields | {
        "url": shown_url(subscription.url),
        "header_names": sorted(subscription.headers or ()) or None,
        "auth_type": None if subscription.auth is None else subscription.auth.type.value,
    }


def _hidden_changes(before: SubscriptionRecord | None, after: SubscriptionRecord) -> list[Change]:
    """What changed of what is not to be seen."""
    if before is None:
        return []
    then, now = before.subscription, after.subscription
    found = []
    if then.url != now.url and shown_url(then.url) == shown_url(now.url):
        found.append("url")
    if then.headers != now.headers and sorted(then.headers or ()) == sorted(now.headers or ()):
        found.append("headers")
    if before.auth != after.auth and then.auth == now.auth:
        found.append("auth")
    if (before.secrets, before.retired, before.sealed) != (
        after.secrets,
        after.retired,
        after.sealed,
    ):
        found.append("secret")
    return [Change(name, hidden=True) for name in found]


def shown_url(url: str) -> str:
    """A receiver's URL without what may be a secret in it: its query and fragment."""
    if url == SESSION_URL:
        return url
    try:
        parts = urlsplit(url)
    except ValueError:  # kept from before it was checked; what it hides cannot be told
        return "(not a URL)"
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return f"{shown}?…" if parts.query or parts.fragment else shown


def _fields(struct: msgspec.Struct | None) -> dict[str, Any] | None:
    if struct is None:
        return None
    return _plain({name: getattr(struct, name) for name in struct.__struct_fields__})


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON has them; a moment as it is shown."""
    plain: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, msgspec.Raw):
            plain[name] = None if value == NOTHING else msgspec.json.decode(value)
        else:
            plain[name] = msgspec.to_builtins(value, enc_hook=_moment, builtin_types=())
    return plain


def _moment(value: Any) -> str:  # noqa: ANN401 - msgspec's hook
    if type(value) is Timestamp:
        return str(value)
    raise NotImplementedError(type(value))


def _compared(
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    *,
    left_out: Collection[str] = (),
    hidden: Collection[str] = (),
) -> list[Change]:
    """The fields that differ, in their order; one that is ``None`` is as one that is not there."""
    before, after = before or {}, after or {}
    changes = []
    for name in {**before, **after}:
        then, now = before.get(name), after.get(name)
        if name in left_out or then == now:
            continue
        if name in hidden:
            changes.append(Change(name, hidden=True))
        else:
            changes.append(Change(name, _short(then), _short(now)))
    return changes


def _short(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    encoded = msgspec.json.encode(value)
    if len(encoded) <= VALUE_BYTES:
        return value
    return {"bytes": len(encoded), "sha256": hashlib.sha256(encoded).hexdigest()}
