"""Goes through everything that a store keeps: does it add up, and is there nothing that is lost?"""

import msgspec

from triggers_api.model.verification import COUNTED, Check, Checked, Integrity, checked
from triggers_api.store.base import OrganizationAccount, Store


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """The books of all organizations, and what was found wrong with single records.

    Attributes:
        ok: all books balance, and nothing is wrong that is not harmless.
        organizations: the books.
        checks: what each check came to.
        stuck: events and deliveries whose lease ran out, and that the next sweep frees.
        integrity: what the database says of itself, where that was asked for.
    """

    ok: bool
    organizations: list[OrganizationAccount]
    checks: list[Checked]
    stuck: int
    integrity: Integrity | None = None


class Repaired(msgspec.Struct, frozen=True, kw_only=True):
    """What was mended, by check, and the leases that were freed."""

    repaired: dict[str, int]
    freed: int


async def verify(store: Store, *, deep: bool) -> Verification:
    """Look at everything. It takes as long as that takes, and holds nobody up.

    Args:
        store: what is looked at.
        deep: ask the database about its own files, too.
    """
    accounts = await store.accounts()
    checks = [checked(check, await store.faults(check, COUNTED)) for check in Check]
    integrity = await store.integrity() if deep else None
    return Verification(
        ok=all(account.balances() for account in accounts)
        and not any(each.found and not each.harmless for each in checks)
        and not (integrity is not None and integrity.faults),
        organizations=accounts,
        checks=checks,
        stuck=(await store.stats()).stuck,
        integrity=integrity,
    )


async def repair(store: Store) -> Repaired:
    """Mend what can be mended, in pieces: what is found is put back where it belongs, remains go."""
    repaired: dict[str, int] = {}
    # The books last: what is mended before may be what they are wrong by.
    for check in sorted(Check, key=lambda each: each is Check.COUNTERS):
        count = COUNTED
        while count == COUNTED:
            count = await store.repair(check, COUNTED)
            if count:
                repaired[check.value] = repaired.get(check.value, 0) + count
    freed = await store.reap()
    return Repaired(repaired=repaired, freed=freed.events + freed.deliveries)
