"""``triggers encrypt``."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from triggers_api.cli.opened import opened
from triggers_api.cli.options import load_settings, setting_flags
from triggers_api.errors import StartError
from triggers_api.settings import Settings

if TYPE_CHECKING:
    from triggers_api.store.base import Store

# What opens databases is imported where it is used, so that --help does not wait for it.


@click.command(name="encrypt")
@setting_flags("database_url", "database_direct_url", "secret_key", "old_secret_keys")
@click.option(
    "--give-up-lost",
    is_flag=True,
    help="Pause subscriptions whose key is lost, with a new secret and without credentials.",
)
def command(config: Path | None, give_up_lost: bool, **flags: str | None) -> None:  # noqa: FBT001 - click's
    """Encrypt the secrets of subscriptions under the present key.

    What is in the clear or under an old key is encrypted anew; with PostgreSQL while others work on the
    database. With a file `triggers serve` does it by itself at its start.
    """
    from triggers_api.store.connect import shown_url  # noqa: PLC0415
    from triggers_api.telemetry.logs import configure  # noqa: PLC0415

    settings = load_settings(config, flags)
    configure(level="warning", format_=None)  # this command says itself what it does
    left = asyncio.run(_encrypt(settings, give_up_lost=give_up_lost))
    if left:
        raise StartError(
            f"{shown_url(settings.database_url)}: the secrets of {left} subscription(s) are encrypted "
            "under a key that is not here"
        )


async def _encrypt(settings: Settings, *, give_up_lost: bool) -> int:
    """Returns how many are left that cannot be read."""
    async with opened(settings, "encrypt") as store:
        click.echo(f"{await store.seal()} encrypted anew")
        if give_up_lost:
            for subscription_id in await _give_up_lost(store):
                click.echo(
                    f"{subscription_id} is paused: take a new secret from rotate-secret, then resume"
                )
        found = await store.sealed()
        click.echo(f"{found.present} encrypted under the present key")
        return found.lost


async def _give_up_lost(store: "Store") -> list[str]:
    """The ids of those that had secrets which nobody can read any more."""
    from msgspec.structs import replace  # noqa: PLC0415

    from triggers_api.deliver.signature import new_secret, public_key  # noqa: PLC0415
    from triggers_api.model.subscription import MATCHING, SubscriptionStatus  # noqa: PLC0415

    given_up = []
    async with store.one_change():
        for record in (await store.changes(0)).subscriptions:
            if record.sealed is None:
                continue
            shown = record.subscription
            secret = new_secret(shown.signature)
            subscription = replace(
                shown,
                auth=None,
                public_key=public_key(shown.signature, secret),
                status=SubscriptionStatus.PAUSED if shown.status in MATCHING else shown.status,
                updated_at=store.now(),
            )
            await store.save_subscription(
                replace(record, subscription=subscription, secrets=(secret,), sealed=None)
            )
            given_up.append(shown.id)
    return given_up
