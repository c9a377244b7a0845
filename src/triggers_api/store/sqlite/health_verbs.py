"""The health of endpoints, beside the settlements that it follows from.

Every method here is an operation's body: it runs in the writer's thread, inside a transaction.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import apsw

from triggers_api.model import health as decisions
from triggers_api.model.audit import SERVICE
from triggers_api.model.health import (
    EndpointHealth,
    Evidence,
    HealthChange,
    HealthEvent,
    HealthPolicy,
)
from triggers_api.model.subscription import MATCHING
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import HealthReset, ProbeClaim
from triggers_api.store.endpoint_health import columns, given_up, of_columns, reactivated
from triggers_api.store.sqlite.keys import Keys
from triggers_api.store.sqlite.notice_verbs import NoticeVerbs
from triggers_api.store.sqlite.settings_verbs import SettingsVerbs, write_farewell
from triggers_api.store.sqlite.tables import SQL, Tables, numbers


class HealthVerbs(Tables):
    """The verbs around ``endpoint_health``."""

    def __init__(
        self,
        keys: Keys,
        settings: SettingsVerbs,
        *,
        policy: HealthPolicy,
        draw: Callable[[], float],
    ) -> None:
        super().__init__(keys)
        self._settings = settings
        self._policy = policy
        self._draw = draw
        self._notices = NoticeVerbs(keys)

    def settle(
        self,
        db: apsw.Connection,
        seen: Mapping[int, Sequence[Evidence]],
        *,
        to_tell: Collection[int],
        now: Timestamp,
    ) -> tuple[frozenset[str], list[HealthChange]]:
        """What attempts say of their endpoints; returns which are closed now, and what turned.

        Args:
            db: in the transaction of the settlements.
            seen: by subscription, in the order of the settlements.
            to_tell: subscriptions about which there are to be notices.
            now: when they are settled.
        """
        if not seen:
            return frozenset(), []
        known = _by_subscription(db.execute(SQL["endpoint_health"], (numbers(seen),)))
        closed_to: set[str] = set()
        changes: list[HealthChange] = []
        for number, attempts in seen.items():
            before = known.get(number)
            if before is None and all(each.error is None for each in attempts):
                continue
            record = self._settings.by_number(db, number)
            subscription = record.subscription
            if subscription.status not in MATCHING:
                continue
            after, turned = decisions.judge(
                before,
                [each for each in attempts if each.sent_to in (None, subscription.url)],
                policy=self._policy,
                now=now,
                draw=self._draw(),
            )
            self._save(db, number, before, after)
            if after is not None and after.opened and now < after.open_until:
                closed_to.add(subscription.id)
            for event, health in turned:
                change = HealthChange(record.organization_id, subscription.id, event, health)
                changes.append(change)
                if number in to_tell:
                    self._tell(db, change, now)
                if event is HealthEvent.DISABLED:
                    if subscription.hook:
                        organization = self.keys.of(record.organization_id)
                        write_farewell(db, organization, number, due_at=now)
                    self._settings.disable_subscription(db, number, health.disabled_reason, now=now)
        return frozenset(closed_to), changes

    def _tell(self, db: apsw.Connection, change: HealthChange, now: Timestamp) -> None:
        notice = decisions.notice(change, at=now, policy=self._policy)
        self._notices.write(db, self.keys.of(change.organization_id), (notice,))

    def _save(
        self,
        db: apsw.Connection,
        number: int,
        before: EndpointHealth | None,
        after: EndpointHealth | None,
    ) -> None:
        if after is None:
            db.execute(SQL["forget_health"], (number,))
        elif after != before:
            db.execute(SQL["save_health"], (number, *columns(after)))

    def reset(self, db: apsw.Connection, subscription: int, reset: HealthReset) -> None:
        """What a change of the subscription is to its endpoint's health."""
        if reset is HealthReset.FORGET:
            db.execute(SQL["forget_health"], (subscription,))
        elif reset is HealthReset.PROBE:
            db.execute(SQL["bring_probe_forward"], (subscription,))

    def forget_deleted(self, db: apsw.Connection) -> None:
        """Of subscriptions that are no more."""
        db.execute(SQL["forget_deleted_health"])

    def of(
        self, db: apsw.Connection, organization: int, subscriptions: Collection[int]
    ) -> dict[str, EndpointHealth]:
        """What is known, by subscription."""
        if not subscriptions:
            return {}
        rows = db.execute(SQL["endpoint_health_of"], (numbers(subscriptions), organization))
        return {
            self.keys.subscription(number): health
            for number, health in _by_subscription(rows).items()
        }

    def claim_probes(
        self,
        db: apsw.Connection,
        limit: int,
        not_of: Collection[str],
        *,
        now: Timestamp,
        until: Timestamp,
    ) -> list[ProbeClaim]:
        """Lease what is to be probed."""
        besides = numbers(map(self.keys.of, not_of))
        rows = list(db.execute(SQL["claim_probes"], (now, limit, until, besides)))
        return [
            ProbeClaim(self._settings.by_number(db, number), health)
            for number, health in _by_subscription(rows).items()
        ]

    def settle_probe(
        self,
        db: apsw.Connection,
        probe: ProbeClaim,
        error: str | None,
        *,
        ended: str | None,
        notify: bool,
        now: Timestamp,
    ) -> HealthChange | bool:
        """A probe's end; returns what turned, else whether it counted."""
        number = self.keys.of(probe.target.subscription.id)
        rows = list(db.execute(SQL["endpoint_health"], (numbers([number]),)))
        held = _by_subscription(rows).get(number)
        if held is None or held != probe.health or held.open_until <= now:
            return False
        record = self._settings.by_number(db, number)
        if ended is not None:
            self._save(db, number, held, None)
            self._settings.save_subscription(db, given_up(record, ended, now=now), by=SERVICE)
            return True
        after = decisions.probed(held, error, policy=self._policy, now=now)
        self._save(db, number, held, after)
        if after is not None:
            return True
        self._settings.save_subscription(db, reactivated(record, now=now), by=SERVICE)
        change = HealthChange(
            record.organization_id, record.subscription.id, HealthEvent.RECOVERED, held
        )
        if notify:
            self._tell(db, change, now)
        return change


def _by_subscription(rows: Any) -> dict[int, EndpointHealth]:  # noqa: ANN401 - rows of a statement
    return {number: of_columns(rest) for number, *rest in rows}
