"""``triggers keys``."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

import click

from triggers_api.cli.api import key_text, url_option
from triggers_api.cli.operator import Duration, Operator, echo
from triggers_api.cli.options import load_settings
from triggers_api.errors import StartError

if TYPE_CHECKING:
    from triggers_api.settings import Settings
    from triggers_api.store.base import Store

# What opens databases is imported where it is used, so that --help does not wait for it.

F = TypeVar("F", bound=Callable[..., Any])

_COLUMNS: Final = "{:<36}  {:<8}  {:<24}  {:<24}  {:<22}  {}"
_NEVER: Final = "-"


def _options(command: F) -> F:
    """Adds ``--url``, ``--admin-key``, ``--organization`` and ``--json``."""
    key = click.option(
        "--admin-key", envvar="TRIGGERS_ADMIN_KEY", callback=_key,
        help="An operator's key. [env: TRIGGERS_ADMIN_KEY]",
    )  # fmt: skip
    organization = click.option(
        "--organization", metavar="ID", help="Keys of this organization, not of operators."
    )
    as_json = click.option("--json", "as_json", is_flag=True, help="Print the answer of the API.")
    return organization(as_json(url_option(key(command))))


def _key(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    return None if value is None else key_text(context, option, value)


@click.group(name="keys")
def command() -> None:
    """List, create, replace and revoke keys, of operators or of an organization."""


@command.command(name="list")
@_options
def list_keys(organization: str | None, as_json: bool, url: str, admin_key: str | None) -> None:  # noqa: FBT001 - click's
    """List keys, the newest first: what they begin with, where they stand, when they were used."""
    operator, cursor = _operator(url, admin_key), None
    if not as_json:
        click.echo(_COLUMNS.format("ID", "STATUS", "EXPIRES", "LAST USED", "SCOPES", "NAME"))
    while True:
        page = operator.get(_path(organization), cursor=cursor, limit=1000)
        for key in page["data"]:
            echo(key, _line(key), as_json=as_json)
        cursor = page["next_cursor"]
        if cursor is None:
            return


@command.command(name="create")
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(("ingest", "read", "manage")),
    help="For an organization's key: only this; can be given several times.",
)  # fmt: skip
@click.option("--expires-in", type=Duration(), metavar="TIME", help="90, 15m, 2h, 30d.")
@click.option(
    "--database-url", metavar="URL",
    help="Make an operator's key in this database, past the service: the way back when none is left.",
)  # fmt: skip
@_options
def create(
    name: str,
    scopes: tuple[str, ...],
    expires_in: int | None,
    database_url: str | None,
    organization: str | None,
    as_json: bool,  # noqa: FBT001 - click's
    url: str,
    admin_key: str | None,
) -> None:
    """Create a key called NAME. It is printed this once."""
    if scopes and organization is None:
        raise click.UsageError("--scope is for keys of an organization (--organization)")
    if database_url is not None:
        if organization is not None:
            raise click.UsageError("--database-url makes operators' keys only")
        made = _create_in(database_url, name, expires_in)
    else:
        body: dict[str, object] = {"name": name}
        if scopes:
            body["scopes"] = list(scopes)
        if expires_in is not None:
            body["expires_at"] = _moment(expires_in)
        made = _operator(url, admin_key).post(_path(organization), body)
    echo(made, f"{made['id']}  {made['key']}", as_json=as_json)


@command.command(name="rotate")
@click.argument("key_id", metavar="KEY")
@click.option(
    "--grace", type=Duration(), metavar="TIME", help="How long the old one is good still: 1d."
)
@_options
def rotate(
    key_id: str,
    grace: int | None,
    organization: str | None,
    as_json: bool,  # noqa: FBT001 - click's
    url: str,
    admin_key: str | None,
) -> None:
    """Make a key in the place of KEY, which ends after its grace."""
    body = {} if grace is None else {"grace_s": grace}
    path = f"{_path(organization)}/{quote(key_id, safe='')}/rotate"
    made = _operator(url, admin_key).post(path, body)
    echo(
        made,
        f"{made['id']}  {made['key']}",
        f"{made['replaces']}  is good until {made['old_expires_at']}",
        as_json=as_json,
    )


@command.command(name="revoke")
@click.argument("key_ids", metavar="KEY...", nargs=-1, required=True)
@_options
def revoke(
    key_ids: tuple[str, ...],
    organization: str | None,
    as_json: bool,  # noqa: FBT001 - click's
    url: str,
    admin_key: str | None,
) -> None:
    """End KEYs, everywhere within a second."""
    operator = _operator(url, admin_key)
    for key_id in key_ids:
        operator.call("DELETE", f"{_path(organization)}/{quote(key_id, safe='')}")
        echo({"id": key_id}, f"{key_id}  revoked", as_json=as_json)


def _operator(url: str, admin_key: str | None) -> Operator:
    if admin_key is None:
        raise click.UsageError("Missing option '--admin-key' [env: TRIGGERS_ADMIN_KEY].")
    return Operator(url, admin_key)


def _path(organization: str | None) -> str:
    if organization is None:
        return "/api/admin/keys"
    return f"/api/admin/organizations/{quote(organization, safe='')}/keys"


def _line(key: dict[str, Any]) -> str:
    return _COLUMNS.format(
        key["id"],
        key["status"],
        key["expires_at"] or _NEVER,
        key["last_used_at"] or _NEVER,
        ",".join(key["scopes"]),
        f"{key['name']} ({key['hint']}…)",
    ).rstrip()


def _moment(seconds: int) -> str:
    from triggers_api.app import wall_clock  # noqa: PLC0415

    return str(wall_clock().after(seconds=seconds))


def _create_in(database_url: str, name: str, expires_in: int | None) -> dict[str, Any]:
    from triggers_api.telemetry.logs import configure  # noqa: PLC0415

    if not 1 <= len(name) <= 255:
        raise StartError("a key's name has 1 to 255 characters")
    settings = load_settings(None, {"database_url": database_url})
    configure(level="warning", format_=None)  # this command says itself what it does
    return asyncio.run(_made(settings, name, expires_in))


async def _made(settings: "Settings", name: str, expires_in: int | None) -> dict[str, Any]:
    from triggers_api.app import store_options, wall_clock  # noqa: PLC0415
    from triggers_api.failpoints import Failpoints  # noqa: PLC0415
    from triggers_api.model.audit import Actor, ActorType  # noqa: PLC0415
    from triggers_api.store.acting import acting  # noqa: PLC0415
    from triggers_api.store.connect import open_store  # noqa: PLC0415
    from triggers_api.telemetry.metrics import Metrics  # noqa: PLC0415

    failed: list[BaseException] = []
    store = await open_store(
        store_options(settings),
        clock=wall_clock,
        metrics=Metrics(),
        failpoints=Failpoints(""),
        fatal=failed.append,
    )
    try:
        with acting(Actor(type=ActorType.COMMAND, command="keys create")):
            return await _create_operator_key(store, name, expires_in)
    finally:
        await store.close()


async def _create_operator_key(store: "Store", name: str, expires_in: int | None) -> dict[str, Any]:
    from triggers_api.model import ids  # noqa: PLC0415
    from triggers_api.model.organization import Scope, key_record, new_api_key  # noqa: PLC0415

    secret, now = new_api_key(), store.now()
    record = key_record(
        store.ids.new(ids.KEY),
        secret,
        organization_id=None,
        name=name,
        scopes=(Scope.ADMIN,),
        now=now,
        expires_at=None if expires_in is None else now.after(seconds=expires_in),
    )
    await store.create_key(record)
    expires_at = record.key.expires_at
    return {
        "id": record.key.id,
        "key": secret,
        "name": name,
        "scopes": ["admin"],
        "expires_at": None if expires_at is None else str(expires_at),
    }
