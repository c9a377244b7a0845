"""``/api/admin/settings``: the settings that this process runs by, without what is secret."""

from collections.abc import Collection

import msgspec
from litestar import Router, get
from litestar.di import NamedDependency

from triggers_api.http.context import ACCESS, Context
from triggers_api.model.organization import Scope
from triggers_api.settings import table, variable

MASK = "********"


class SettingShown(msgspec.Struct, frozen=True, kw_only=True):
    """A setting in force.

    Attributes:
        name: in files; ``variable`` is its name in the environment.
        value: as text, ``null`` where there is none; of a secret only that there is one.
        is_default: it is as it is where nobody sets it.
    """

    name: str
    variable: str
    value: str | None
    is_default: bool
    secret: bool
    about: str


class SettingsShown(msgspec.Struct, frozen=True):
    """Every setting."""

    data: list[SettingShown]


@get("/api/admin/settings", summary="See the settings in force")
async def get_settings(context: NamedDependency[Context]) -> SettingsShown:
    """Of the process that answers, in the order of the reference; what is secret is masked."""
    return SettingsShown(
        [
            SettingShown(
                name=row.name,
                variable=variable(row),
                value=_shown(getattr(context.settings, row.name), secret=row.metadata["secret"]),
                is_default=getattr(context.settings, row.name) == row.default,
                secret=row.metadata["secret"],
                about=row.metadata["help"],
            )
            for row in table()
        ]
    )


def _shown(value: object, *, secret: bool) -> str | None:
    if value is None or value in ((), ""):
        return None
    if secret:
        return MASK
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Collection) and not isinstance(value, str):
        return ", ".join(
            "=".join(map(str, each)) if isinstance(each, tuple) else str(each) for each in value
        )
    return str(value)


def router() -> Router:
    """The route of this file."""
    return Router(
        "/", route_handlers=[get_settings], opt={ACCESS: (Scope.ADMIN,)}, tags=["Operator"]
    )
