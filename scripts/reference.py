#!/usr/bin/env python3
"""Keeps the tables of docs/reference/ equal to the product.

    python scripts/reference.py --check    say what is missing or wrong; exit 1 if anything is
    python scripts/reference.py --write    bring the tables up to date

A page is written by hand, but for what stands between ``<!-- table: NAME -->`` and ``<!-- end -->``.
Such a table is made anew from the code: the settings' table, the metrics' registry, the errors' tree,
the calls of the log, the command line, and a running service that is asked route by route which
scopes it takes. A table's last column may be marked as written by hand: its cells are kept, and an
empty one is a fault.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import inspect
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import EnumType
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from triggers_api.cli.main import group
from triggers_api.client.requests import PAGE_SIZE
from triggers_api.http.documentation import problem_classes
from triggers_api.model.organization import ORGANIZATION_SCOPES, Scope
from triggers_api.model.outcome import ERRORS
from triggers_api.settings import shown_default, table, variable
from triggers_api.telemetry.logs import configure
from triggers_api.telemetry.metrics import Metrics
from triggers_api.testing import ADMIN_KEY, FrozenClock, Service

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCE: Final = ROOT / "src" / "triggers_api"
PAGES: Final = ROOT / "docs" / "reference"

_BLOCK: Final = re.compile(
    r"(<!-- table: (?P<name>[a-z -]+) -->\n)(?P<body>.*?)(<!-- end -->)", re.DOTALL
)
_SETTING: Final = "VALUE"
"""The metavar of a flag that ``cli/options.py`` makes from a setting."""

_TAGS: Final = (
    "Events",
    "Inbox",
    "Subscriptions",
    "Hooks",
    "Event types",
    "Deliveries",
    "Jobs",
    "Organization",
    "Portal",
    "Audit",
    "Statistics",
    "Operator",
    "Health",
)
_SCOPES: Final[list[str]] = list(Scope)
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_LEVELS: Final = frozenset({"debug", "info", "warning", "error", "exception", "critical"})


class Table(NamedTuple):
    """Rows made from the code. With ``kept``, each row lacks its last cell, which people write."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    kept: bool = False


# ── what the code says ────────────────────────────────────────────────────────────────────────────


def settings() -> Table:
    """Every row of the settings' table."""
    rows = []
    for row in table():
        names = [variable(row), *row.metadata["aliases"]]
        default = shown_default(row)
        rows.append(
            (
                f"`{row.name}`",
                ", ".join(f"`{name}`" for name in names),
                _taken(row.metadata["parse"]),
                f"`{default}`" if default else "",
                row.metadata["help"],
            )
        )
    return Table(("setting", "environment", "takes", "default", "meaning"), rows)


def _taken(parse: Callable[[str], Any]) -> str:
    """What a parser of ``settings.py`` takes, in words."""
    if isinstance(parse, EnumType):
        members: Iterable[Any] = parse
        return ", ".join(f"`{member.value}`" for member in members)
    bounds = inspect.getclosurevars(parse)
    if "allowed" in bounds.nonlocals:
        return ", ".join(f"`{word}`" for word in bounds.nonlocals["allowed"])
    if "low" in bounds.nonlocals:
        kind = "whole number" if "int" in bounds.builtins else "number"
        return f"{kind}, {bounds.nonlocals['low']:g} to {bounds.nonlocals['high']:.0f}"
    return {
        "_text": "text",
        "_prefix": "1 to 64 of `A-Z`, `a-z`, `0-9`, `_ . : -`",
        "_schedule": "numbers, 0 to 604800",
        "_networks": "networks in CIDR form",
        "_origin": "`http://` or `https://` with a host, and a port where it is another",
        "_origins": "such addresses, separated by commas",
        "_host_rates": "pairs `host=number`, 0.01 to 10000",
        "_given_key": "16 to 256 printable ASCII characters, no space",
        "_given_keys": "such keys, separated by spaces",
        "_delivery_switch": "`running`, `paused`, `skip`; `true` means `skip`",
    }[parse.__name__]


def metrics() -> Table:
    """Every metric on the registry, by the name that Prometheus sees."""
    registry = Metrics().registry
    rows = []
    for family in registry.collect():
        # The library's own, about the process, is not found by name and has no labels.
        collector: Any = registry._names_to_collectors.get(family.name)  # noqa: SLF001 - no other way
        name = f"{family.name}_total" if family.type == "counter" else family.name
        names = getattr(collector, "_labelnames", ())
        labels = ", ".join(f"`{label}`" for label in names)
        rows.append((f"`{name}`", family.type, labels, family.documentation))
    return Table(("metric", "type", "labels", "meaning"), rows)


class LogCall(NamedTuple):
    """A call that writes a line to the log."""

    event: str
    levels: frozenset[str]
    fields: frozenset[str]
    where: str


def log_calls(source: Path = SOURCE) -> Iterator[LogCall]:
    """Every call of a module's ``log``, also through a local name for one of its methods."""
    for file in sorted(source.rglob("*.py")):
        tree = ast.parse(file.read_text())
        named = {
            target.id: levels
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and (levels := _levels_in(node.value))
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = node.func
            through_a_name = isinstance(called, ast.Name) and named.get(called.id)
            if levels := through_a_name or _level_of(called):
                yield _log_call(node, levels, f"{file.relative_to(source)}:{node.lineno}")


def _level_of(node: ast.AST) -> frozenset[str]:
    match node:
        case ast.Attribute(value=ast.Name(id="log"), attr=level) if level in _LEVELS:
            return frozenset({"error" if level == "exception" else level})
    return frozenset()


def _levels_in(node: ast.AST) -> frozenset[str]:
    if isinstance(node, ast.Call):
        return frozenset()
    return frozenset().union(*(_level_of(part) for part in ast.walk(node)))


def _log_call(node: ast.Call, levels: frozenset[str], where: str) -> LogCall:
    (event,) = node.args
    if not (isinstance(event, ast.Constant) and isinstance(event.value, str)):
        raise TypeError(f"{where}: the event of a log line must be a literal")
    fields = {"exception" if word.arg == "exc_info" else word.arg for word in node.keywords}
    if None in fields:
        raise TypeError(f"{where}: the fields of a log line must be named")
    if isinstance(node.func, ast.Attribute) and node.func.attr == "exception":
        fields.add("exception")
    return LogCall(event.value, levels, frozenset(str(name) for name in fields), where)


def log_events() -> Table:
    """Every line that the log can hold."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    for call in log_calls():
        levels, fields = found.setdefault(call.event, (set(), set()))
        levels |= call.levels
        fields |= call.fields
    rows = [
        (f"`{event}`", ", ".join(sorted(levels)), ", ".join(f"`{name}`" for name in sorted(fields)))
        for event, (levels, fields) in sorted(found.items())
    ]
    return Table(("event", "level", "fields", "what happened"), rows, kept=True)


def problems() -> Table:
    """Every refusal, by status and code."""
    rows = [
        (
            f'<a id="{each.code}"></a>`{each.code}`',
            str(each.status),
            "yes" if each.retryable else "no",
            (each.__doc__ or each.title).splitlines()[0],
        )
        for each in problem_classes()
    ]
    return Table(("code", "status", "retryable", "meaning", "what to do"), rows, kept=True)


_FAULTS: Final = {"FieldError", "ValidationFailed.of", "_schema_fault", "_payload_fault"}
"""What makes one, with its code as the second argument."""
_NAMED_IN: Final = ("triggers_api.deliver.egress", "triggers_api.model.schema")
"""Where codes are that have names."""


def field_codes() -> Table:
    """Every ``code`` in the ``errors`` of a refusal."""
    found: set[str] = set()
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                found.update(_field_code(node))
    rows = [(f"`{code}`",) for code in sorted(found)]
    return Table(("code", "meaning"), rows, kept=True)


def _field_code(node: ast.Call) -> Iterator[str]:
    called = ast.unparse(node.func)
    if called in _FAULTS and len(node.args) > 1:
        place = 1
    elif called in {"EgressRefused", "ExpressionFault"} and node.args:
        place = 0
    else:
        return
    code = node.args[place]
    if isinstance(code, ast.Constant):
        yield str(code.value)
    elif isinstance(code, ast.Name) and code.id.isupper():
        yield next(
            str(getattr(sys.modules[name], code.id))
            for name in _NAMED_IN
            if hasattr(sys.modules[name], code.id)
        )
    elif isinstance(code, ast.JoinedStr):  # named after the keyword of a schema
        yield ast.unparse(code)[2:-1].replace("{keyword}", "*")
    elif ast.unparse(code) == "code":  # field_error(): one of these two
        yield from ("missing-field", "invalid-type")
    elif ast.unparse(code) not in {"refused.code", "fault.code"}:  # found where it is raised
        raise TypeError(f"cannot read the code in {ast.unparse(node)}")


def attempt_errors() -> Table:
    """Every ``error`` that an attempt can carry."""
    return Table(("error", "meaning"), [(f"`{error}`", text) for error, text in ERRORS.items()])


def routes() -> Table:
    """Every route of the OpenAPI document, with the scopes that a running service takes for it."""
    rows = asyncio.run(_probed())
    return Table(("route", "scope", "what it does"), rows)


async def _probed() -> list[tuple[str, ...]]:
    with tempfile.TemporaryDirectory() as folder:
        async with Service(Path(folder), clock=FrozenClock()) as service:
            document = (await service.call("GET", "/openapi.json")).json
            keys = {Scope.ADMIN: ADMIN_KEY}
            for scope in ORGANIZATION_SCOPES:
                keys[scope] = await _key(service, scope)
            found = [
                (operation["tags"][0], path, method.upper(), operation["summary"])
                for path, item in document["paths"].items()
                for method, operation in item.items()
            ]
            return [
                (f"`{method} {path}`", await _scopes(service, method, path, keys), summary)
                for _, path, method, summary in sorted(found, key=_place)
            ]


def _place(route: tuple[str, ...]) -> tuple[int, str, int]:
    """Where a route stands; the document's own order is another at every start."""
    tag, path, method, _ = route
    return _TAGS.index(tag), path, _METHODS.index(method)


async def _key(service: Service, scope: Scope) -> str:
    organization = (await service.call("GET", "/api/organization")).json["id"]
    answer = await service.call(
        "POST",
        f"/api/admin/organizations/{organization}/keys",
        {"name": scope, "scopes": [scope]},
        key=ADMIN_KEY,
    )
    key: str = answer.json["key"]
    return key


async def _scopes(service: Service, method: str, path: str, keys: dict[Scope, str]) -> str:
    """The scopes with which a route does not answer 401 or 403; the ids in its path are nobody's."""
    # A parameter that no route knows is refused after the key: nothing is done, and nothing streamed.
    asked = re.sub(r"\{[a-z_]+\}", "nobody", path) + "?nothing="
    if (await service.call(method, asked, key=None)).status != 401:
        return "none"
    taken = [
        scope
        for scope, key in keys.items()
        if (await service.call(method, asked, key=key)).status not in {401, 403}
    ]
    return " or ".join(sorted(taken, key=_SCOPES.index))


def _commands() -> dict[str, click.Command]:
    context = click.Context(group)
    found = {}
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found[name] = command
    return found


def command_options(name: str) -> Table:
    """The options of a command, but for those that are settings."""
    rows = []
    for parameter in _commands()[name].params:
        if isinstance(parameter, click.Option):
            if parameter.metavar == _SETTING:
                continue
            spelled = ", ".join(f"`{option}`" for option in parameter.opts)
            rows.append((spelled, _values(parameter), _default(parameter), parameter.help or ""))
        else:
            needed = "Required." if parameter.required else "May be left out."
            rows.append((f"`{parameter.make_metavar(click.Context(group))}`", "", "", needed))
    return Table(("option", "takes", "default", "meaning"), rows)


def _values(option: click.Option) -> str:
    if option.is_flag:
        return ""
    if isinstance(option.type, click.Choice):
        return ", ".join(f"`{choice}`" for choice in option.type.choices)
    if isinstance(option.type, click.IntRange | click.FloatRange):
        kind = "whole number" if isinstance(option.type, click.IntRange) else "number"
        least, most = option.type.min, option.type.max
        return f"{kind}, {least:g} or more" if most is None else f"{kind}, {least:g} to {most:.0f}"
    return {
        "text": "text",
        "file": "path",
        "integer": "whole number",
        "float": "number",
        "duration": "time",
        "number": "whole number or `default`",
    }[option.type.name]


def _default(option: click.Option) -> str:
    default = option.default
    if option.required:
        return "required"
    if option.is_flag or not isinstance(default, str | int | float | tuple):
        return ""
    shown = ",".join(default) if isinstance(default, tuple) else str(default)
    return f"`{shown}`"


def setting_flags(name: str) -> set[str]:
    """The settings that a command takes as flags."""
    options = [each for each in _commands()[name].params if isinstance(each, click.Option)]
    return {str(each.name) for each in options if each.metavar == _SETTING}


def commands() -> Table:
    """Every command with its first line."""
    rows = [
        (f"[`triggers {name}`](#triggers-{name})", (command.help or "").partition("\n")[0])
        for name, command in _commands().items()
    ]
    return Table(("command", "what it does"), rows)


_CLIENT: Final = SOURCE / "client"
_CALLED: Final = {
    "Client": "client",
    "Inbox": "inbox",
    "Listing": "listing",
    "Consumer": "messages",
    "Message": "message",
}
"""What an object of a class is called where its methods are shown."""


def _classes(*files: str) -> Iterator[ast.ClassDef]:
    for file in files:
        for node in ast.parse((_CLIENT / file).read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield node


def _public(node: ast.ClassDef) -> Iterator[ast.FunctionDef]:
    for each in node.body:
        if isinstance(each, ast.FunctionDef) and not each.name.startswith("_"):
            yield each


def client_calls() -> Table:
    """Every method of the client, its parts, and what they return."""
    classes = {each.name: each for each in _classes("blocking.py", "consuming.py", "carrier.py")}
    keywords = {each.name: each for each in _classes("requests.py")}
    called = _CALLED | _parts(classes["Client"])
    rows = []
    for name, prefix in called.items():
        for method in _public(classes[name]):
            spelled = f"{prefix}.{method.name}"
            if not any(ast.unparse(each) == "property" for each in method.decorator_list):
                spelled += f"({', '.join(_parameters(method.args, keywords))})"
            answer = ast.unparse(method.returns) if method.returns else "None"
            answer = answer.strip("'").removeprefix("builtins.")
            rows.append((f"`{spelled}`", f"`{answer}`", _first_line(method)))
    return Table(("call", "answer", "what it does"), rows)


def _parts(client: ast.ClassDef) -> dict[str, str]:
    """The classes of a client's parts, by what they are called."""
    found = {}
    for node in ast.walk(client):
        match node:
            case ast.Assign(
                targets=[ast.Attribute(attr=name)],
                value=ast.Call(func=ast.Name(id=kind), args=[ast.Name(id="run")]),
            ):
                found[kind] = f"client.{name}"
    return found


def _parameters(given: ast.arguments, keywords: dict[str, ast.ClassDef]) -> Iterator[str]:
    """The parameters of a method as a caller writes them."""
    positional = given.args[1:]
    bare: list[ast.expr | None] = [None] * (len(positional) - len(given.defaults))
    defaults = [*bare, *given.defaults]
    for parameter, default in zip(positional, defaults, strict=True):
        yield parameter.arg if default is None else f"{parameter.arg}={ast.unparse(default)}"
    for parameter, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        shown = "…" if default is None else ast.unparse(default)
        shown = shown.replace("requests.PAGE_SIZE", str(PAGE_SIZE)).replace("UNSET", "…")
        yield f"{parameter.arg}={shown}"
    match given.kwarg:
        case ast.arg(annotation=ast.Subscript(slice=ast.Attribute(attr=name))):
            yield from (f"{field}=…" for field in _fields(name, keywords))
        case ast.arg(arg=name):
            yield f"**{name}"


def _fields(name: str, classes: dict[str, ast.ClassDef]) -> Iterator[str]:
    """The fields of a class, those of what it extends first."""
    for base in classes[name].bases:
        if isinstance(base, ast.Name) and base.id in classes:
            yield from _fields(base.id, classes)
    for node in classes[name].body:
        if isinstance(node, ast.AnnAssign):
            yield node.target.id if isinstance(node.target, ast.Name) else ""
        elif isinstance(node, ast.FunctionDef) and node.decorator_list:
            yield node.name


def _first_line(node: ast.ClassDef | ast.FunctionDef) -> str:
    text = ast.get_docstring(node) or ""
    return text.partition("\n\n")[0].replace("\n", " ").replace("``", "`")


def client_errors() -> Table:
    """Every exception of the client."""
    classes = [each for each in _classes("errors.py") if each.bases and each.name[0].isupper()]
    rows = [
        (f"`{each.name}`", f"`{ast.unparse(each.bases[0])}`", _first_line(each))
        for each in classes
        if ast.unparse(each.bases[0]) != "msgspec.Struct"
    ]
    return Table(("exception", "is a", "when"), rows)


def client_structs() -> Table:
    """Every struct of the client."""
    classes = {each.name: each for each in _classes("models.py")}
    rows = [
        (f"`{name}`", ", ".join(f"`{each}`" for each in _fields(name, classes)), _first_line(node))
        for name, node in sorted(classes.items())
    ]
    return Table(("struct", "fields", "what it is"), rows)


PAGES_AND_TABLES: Final[dict[str, dict[str, Callable[[], Table]]]] = {
    "settings.md": {"settings": settings},
    "telemetry.md": {"metrics": metrics, "log events": log_events},
    "problems.md": {
        "problems": problems,
        "field codes": field_codes,
        "attempt errors": attempt_errors,
    },
    "http.md": {"routes": routes},
    "client.md": {
        "client calls": client_calls,
        "client errors": client_errors,
        "client structs": client_structs,
    },
    "cli.md": {
        "commands": commands,
        **{f"options of {name}": partial(command_options, name) for name in _commands()},
    },
}


# ── pages ─────────────────────────────────────────────────────────────────────────────────────────


def render(made: Table, present: str) -> str:
    """A table as Markdown, with the cells that people wrote taken over from the present one."""
    kept = _kept_cells(present) if made.kept else {}
    rows = [(*row, kept.get(row[0], "")) if made.kept else row for row in made.rows]
    lines = [_line(made.columns), _line(["---"] * len(made.columns)), *map(_line, rows)]
    return "".join(f"{line}\n" for line in lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |".replace(
        "  ", " "
    )


def _cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])]


def _kept_cells(present: str) -> dict[str, str]:
    rows = [_cells(line) for line in present.splitlines()[2:] if line.startswith("|")]
    return {cells[0]: cells[-1] for cells in rows}


def updated(text: str, tables: dict[str, Table]) -> str:
    """A page with its tables made anew."""

    def remade(block: re.Match[str]) -> str:
        name = block["name"]
        body = render(tables[name], block["body"]) if name in tables else block["body"]
        return f"{block[1]}{body}{block[4]}"

    return _BLOCK.sub(remade, text)


def faults(page: str, text: str, tables: dict[str, Table]) -> Iterator[str]:
    """What is wrong with a page, in words."""
    present = {block["name"]: block["body"] for block in _BLOCK.finditer(text)}
    for name in sorted(tables.keys() ^ present.keys()):
        what = "the table is missing" if name in tables else "there is no such table"
        yield f"{page}: {name}: {what}"
    for name in sorted(tables.keys() & present.keys()):
        yield from _table_faults(f"{page}: {name}", tables[name], present[name])


def _table_faults(where: str, made: Table, present: str) -> Iterator[str]:
    wanted = render(made, present)
    if wanted != present:
        ours, theirs = set(wanted.splitlines()), set(present.splitlines())
        yield from (f"{where}: missing or wrong: {line}" for line in sorted(ours - theirs))
        yield from (f"{where}: not so in the code: {line}" for line in sorted(theirs - ours))
        if ours == theirs:
            yield f"{where}: the order of the lines is another"
    if made.kept:
        for line in wanted.splitlines()[2:]:
            if not _cells(line)[-1]:
                yield f"{where}: {_cells(line)[0]}: the last column is to be written by hand"


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true", help="say what is missing or wrong")
    what.add_argument("--write", action="store_true", help="bring the tables up to date")
    given = parser.parse_args()
    configure(level="error", format_="console")
    found: list[str] = []
    for page, makers in PAGES_AND_TABLES.items():
        path = PAGES / page
        tables = {name: make() for name, make in makers.items()}
        if given.write:
            path.write_text(updated(path.read_text(), tables))
        found += faults(page, path.read_text(), tables)
    sys.stdout.writelines(f"{fault}\n" for fault in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
