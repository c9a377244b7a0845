"""Accounting: what a server said it took against what it has."""

import http.client
import random
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from triggers_api.bench.exposition import histogram, since
from triggers_api.bench.loader import Load
from triggers_api.bench.server import Api
from triggers_api.bench.slices import Slice
from triggers_api.bench.statistics import bucket_quantile
from triggers_api.bench.targets import (
    NOT_FOUND,
    NOT_STORED,
    REFUSED,
    UNEXPLAINED,
    WRONG_DUPLICATES,
    Verdict,
    judge,
)

_SAMPLE: Final = 200
_ROUTED: Final = "triggers_accepted_to_routed_seconds"


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """A server's books (``GET /api/admin/verify``), all organizations together."""

    ok: bool
    accepted: int
    queued: int
    succeeded: int
    deliveries: int


class Accounting(msgspec.Struct, frozen=True, kw_only=True):
    """What was accepted against what is stored.

    Attributes:
        accepted: answers that said so (201, 202).
        stored: events that the server's books have gained; ``None`` without an operator's key.
        balanced: whether the books balance.
        unanswered: requests that ended without an answer: their events may be stored or not.
        missing: accepted and not stored.
        unexplained: stored, and neither accepted nor unanswered; on a given server they may be
            somebody else's.
        sampled: accepted events that were asked for by id, one by one.
        found: of these.
        duplicates: answers that said so (200).
        wrong_duplicates: of these, those that named another event than the first one.
    """

    accepted: int
    stored: int | None
    balanced: bool | None
    unanswered: int
    missing: int | None
    unexplained: int | None
    sampled: int
    found: int
    duplicates: int
    wrong_duplicates: int


def read_books(api: Api) -> Books | None:
    """The books as they are now; ``None`` without an operator's key."""
    if api.target.admin_key is None:
        return None
    return sum_of(api.call("GET", "/api/admin/verify", admin=True))


def own_books(api: Api) -> Books:
    """The books of a server of our own, which has an operator's key."""
    books = read_books(api)
    assert books is not None
    return books


def sum_of(verification: Mapping[str, Any]) -> Books:
    """The books of all organizations together."""
    accounts = verification["organizations"]
    return Books(
        ok=verification["ok"],
        accepted=sum(account["accepted"] for account in accounts),
        queued=sum(account["queued"] for account in accounts),
        succeeded=sum(account["deliveries"]["succeeded"] for account in accounts),
        deliveries=sum(account["deliveries"]["total"] for account in accounts),
    )


class Account:
    """Everything that a profile sends to a server, until it is closed."""

    def __init__(self, api: Api) -> None:
        """Note where the server's books stand."""
        self._api = api
        self._before = read_books(api)
        self._accepted = self._duplicates = self._wrong = self._unanswered = 0
        self._ids: list[str] = []
        self.succeeded: int | None = None
        """Deliveries that the books have gained as such; known when the account is closed."""

    def add(self, load: Load) -> None:
        """Take in what the raw loader did."""
        self._accepted += load.accepted
        self._duplicates += load.duplicates
        self._wrong += load.wrong_duplicates + load.accepted - load.unique_ids
        self._unanswered += load.lost
        self._ids += load.sampled_ids

    def add_uncounted(self, slice_: Slice, *, hung_up_on: int) -> None:
        """Take in what ``wrk`` did, which knows no ids and hangs up on the last requests."""
        self._accepted += slice_.answers - (slice_.failed - slice_.lost)
        self._unanswered += slice_.lost + hung_up_on

    def close(self) -> Accounting:
        """Compare with the server's books as they are now."""
        sample = random.sample(self._ids, min(_SAMPLE, len(self._ids)))
        found = sum(
            self._api.ask("GET", f"/api/events/{event_id}")[0] == http.client.OK
            for event_id in sample
        )
        before, after = self._before, read_books(self._api)
        stored = missing = unexplained = None
        if before is not None and after is not None:
            stored = after.accepted - before.accepted
            missing = max(0, self._accepted - stored)
            unexplained = max(0, stored - self._accepted - self._unanswered)
            self.succeeded = after.succeeded - before.succeeded
        return Accounting(
            accepted=self._accepted,
            stored=stored,
            balanced=None if after is None else after.ok,
            unanswered=self._unanswered,
            missing=missing,
            unexplained=unexplained,
            sampled=len(sample),
            found=found,
            duplicates=self._duplicates,
            wrong_duplicates=self._wrong,
        )


def verdicts_on(accounting: Accounting, *, failed: int, is_own: bool) -> list[Verdict]:
    """What the accounts come to.

    Args:
        accounting: closed.
        failed: requests that were refused or lost.
        is_own: nobody else used the server meanwhile.
    """
    missing = accounting.missing
    if accounting.balanced is False:
        missing = max(1, missing or 0)
    return [
        judge(REFUSED, failed),
        judge(NOT_STORED, missing, unjudged=_no_books(accounting)),
        judge(
            UNEXPLAINED,
            accounting.unexplained,
            unjudged=_no_books(accounting) or ("" if is_own else "others may use the server, too"),
        ),
        judge(NOT_FOUND, accounting.sampled - accounting.found),
        judge(WRONG_DUPLICATES, accounting.wrong_duplicates),
    ]


def _no_books(accounting: Accounting) -> str:
    return "reading the books needs --admin-key" if accounting.stored is None else ""


class Routing:
    """How long events wait to be routed, by the server's own histogram, from now on."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._before = self._read()

    def p95_ms(self) -> float | None:
        """The 95th percentile so far; ``None`` when nothing was routed (``sync`` does not count)."""
        seconds = bucket_quantile(0.95, since(self._before, self._read()))
        return None if seconds is None else round(seconds * 1000, 1)

    def _read(self) -> dict[float, float]:
        _, text = self._api.ask("GET", "/metrics")
        return histogram(text.decode(), _ROUTED)
