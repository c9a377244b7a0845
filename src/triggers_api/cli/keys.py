"""``triggers keys``."""

import asyncio
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import click

from triggers_api.cli.api import key_text, url_option
from triggers_api.cli.opened import opened
from triggers_api.cli.operator import Duration, Operator, echo
from triggers_api.cli.options import load_settings
from triggers_api.errors import StartError

if TYPE_CHECKING:
    from triggers_api.settings import Settings
    from triggers_api.store.base import Store

# What opens databases is imported where it is used, so that --help does not wait for it.

_COLUMNS: Final = "{:<36}  {:<8}  {:<24}  {:<24}  {:<22}  {}"
_NEVER: Final = "-"


def _key(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    return None if value is None else key_text(context, option, value)


@click.command(name="keys")
@click.argument("action", type=click.Choice(("list", "create", "rotate", "revoke")), default="list")
@click.argument("named", metavar="[NAME|KEY ...]", nargs=-1)
@click.option("--organization", metavar="ID", help="Keys of this organization, not of operators.")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(("ingest", "read", "manage")),
    help="For create: of an organization's key only this; can be given several times.",
)  # fmt: skip
@click.option(
    "--expires-in", type=Duration(), metavar="TIME",
    help="For create and rotate: when the new key ends, as 90, 15m, 2h, 30d.",
)  # fmt: skip
@click.option(
    "--grace", type=Duration(), metavar="TIME",
    help="For rotate: how long the old key is good still; a day if not given.",
)  # fmt: skip
@click.option(
    "--database-url", metavar="URL",
    help="For create: an operator's key in this database, past the service. The way back when no "
    "operator's key is left.",
)  # fmt: skip
@click.option(
    "--admin-key", envvar="TRIGGERS_ADMIN_KEY", callback=_key,
    help="An operator's key. [env: TRIGGERS_ADMIN_KEY]",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the answer of the API.")
@url_option
def command(
    action: str,
    named: tuple[str, ...],
    organization: str | None,
    scopes: tuple[str, ...],
    expires_in: int | None,
    grace: int | None,
    database_url: str | None,
    admin_key: str | None,
    as_json: bool,  # noqa: FBT001 - click's
    url: str,
) -> None:
    """List keys, create one called NAME, or replace or revoke KEYs: of operators or an organization.

    A new key is printed this once, behind its id.
    """
    asked = _Asked(url, admin_key, organization, as_json=as_json)
    if (scopes and (action != "create" or organization is None)) or (
        grace is not None and action != "rotate"
    ):
        raise click.UsageError("--scope goes with create and --organization, --grace with rotate")
    match action:
        case "list" if not named:
            asked.list()
        case "create" if len(named) == 1 and database_url is None:
            asked.create(named[0], scopes, expires_in)
        case "create" if len(named) == 1 and database_url is not None and organization is None:
            asked.tell_new(_create_in(database_url, named[0], expires_in))
        case "rotate" if len(named) == 1:
            asked.rotate(named[0], grace, expires_in)
        case "revoke" if named:
            asked.revoke(named)
        case _:
            raise click.UsageError(
                "list takes no names, create one name, rotate one key, revoke some keys; "
                "--database-url makes operators' keys only"
            )


class _Asked:
    """What is asked of the service, and how the answer is told."""

    def __init__(
        self, url: str, admin_key: str | None, organization: str | None, *, as_json: bool
    ) -> None:
        self._url = url
        self._admin_key = admin_key
        self._path = _path(organization)
        self._as_json = as_json

    @property
    def _operator(self) -> Operator:
        return _operator(self._url, self._admin_key)

    def list(self) -> None:
        operator, cursor = self._operator, None
        if not self._as_json:
            click.echo(_COLUMNS.format("ID", "STATUS", "EXPIRES", "LAST USED", "SCOPES", "NAME"))
        while True:
            page = operator.get(self._path, cursor=cursor, limit=1000)
            for key in page["data"]:
                echo(key, _line(key), as_json=self._as_json)
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def create(self, name: str, scopes: tuple[str, ...], expires_in: int | None) -> None:
        body: dict[str, object] = {"name": name, **_ends(expires_in)}
        if scopes:
            body["scopes"] = [*scopes]
        self.tell_new(self._operator.post(self._path, body))

    def tell_new(self, made: dict[str, Any]) -> None:
        echo(made, f"{made['id']}  {made['key']}", as_json=self._as_json)

    def rotate(self, key_id: str, grace: int | None, expires_in: int | None) -> None:
        body = _ends(expires_in)
        if grace is not None:
            body["grace_s"] = grace
        made = self._operator.post(f"{self._path}/{quote(key_id, safe='')}/rotate", body)
        echo(
            made,
            f"{made['id']}  {made['key']}",
            f"{made['replaces']}  is good until {made['old_expires_at']}",
            as_json=self._as_json,
        )

    def revoke(self, key_ids: tuple[str, ...]) -> None:
        operator = self._operator
        for key_id in key_ids:
            operator.call("DELETE", f"{self._path}/{quote(key_id, safe='')}")
            echo({"id": key_id}, f"{key_id}  revoked", as_json=self._as_json)


def _ends(expires_in: int | None) -> dict[str, object]:
    return {} if expires_in is None else {"expires_at": _moment(expires_in)}


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
    async with opened(settings, "keys create") as store:
        return await _create_operator_key(store, name, expires_in)


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
