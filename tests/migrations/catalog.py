"""A schema as its database describes it: statements that make it again, in one fixed form.

``schema.postgres.sql`` and ``schema.sqlite.sql`` beside this file are what the migrations come to: for
people who want to see a schema whole, and for the test that fails when a migration changes more than
somebody meant. To write them anew, from the root of the project::

    python -m tests.migrations.catalog
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import apsw
import asyncpg
from tests.servers.postgres import Postgres, PostgresServer

from triggers_api.store.postgres import schema as postgres_schema
from triggers_api.store.sqlite import schema as sqlite_schema

HERE: Final = Path(__file__).parent
POSTGRES: Final = HERE / "schema.postgres.sql"
SQLITE: Final = HERE / "schema.sqlite.sql"

_NOT_DATA: Final = "schema_migrations"
"""When which migration ran is another story in every database."""

# ── PostgreSQL ────────────────────────────────────────────────────────────────────────────────────

_SEQUENCES: Final = """
SELECT format(
    'CREATE SEQUENCE %s AS %s INCREMENT %s MINVALUE %s MAXVALUE %s START %s CACHE %s %s',
    c.relname, format_type(s.seqtypid, NULL), s.seqincrement, s.seqmin, s.seqmax, s.seqstart,
    s.seqcache, CASE WHEN s.seqcycle THEN 'CYCLE' ELSE 'NO CYCLE' END
)
FROM pg_sequence AS s
JOIN pg_class AS c ON c.oid = s.seqrelid
WHERE c.relnamespace = 'public'::regnamespace
ORDER BY c.relname
"""

_TABLES: Final = """
SELECT c.oid, c.relname,
       array_to_string(
           coalesce(c.reloptions, '{}')
           || (SELECT coalesce(array_agg('toast.' || o), '{}') FROM unnest(t.reloptions) AS o),
           ', '
       )
FROM pg_class AS c
LEFT JOIN pg_class AS t ON t.oid = c.reltoastrelid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
ORDER BY c.relname
"""

_COLUMNS: Final = """
SELECT concat_ws(
    ' ',
    a.attname,
    format_type(a.atttypid, a.atttypmod),
    CASE WHEN a.attstorage <> y.typstorage
         THEN 'STORAGE ' || CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL'
                                              WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END END,
    CASE WHEN a.attcollation <> y.typcollation
         THEN (SELECT format('COLLATE %I', collname) FROM pg_collation WHERE oid = a.attcollation) END,
    'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid, true),
    CASE WHEN a.attnotnull THEN 'NOT NULL' END
)
FROM pg_attribute AS a
JOIN pg_type AS y ON y.oid = a.atttypid
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""

# 'n': NOT NULL, a constraint of its own from PostgreSQL 18 on, and a property of the column here.
_CONSTRAINTS: Final = """
SELECT format('CONSTRAINT %I %s', conname, pg_get_constraintdef(oid, true))
FROM pg_constraint
WHERE conrelid = $1 AND contype NOT IN ('n', 'p', 'u', 'x')
ORDER BY contype, conname
"""

# In the order in which they were made: where the planner sees no other difference, it takes the newest.
_INDEXES: Final = """
SELECT coalesce(
    'ALTER TABLE ' || $2 || ' ADD CONSTRAINT ' || quote_ident(n.conname) || ' '
    || pg_get_constraintdef(n.oid, true),
    pg_get_indexdef(i.indexrelid, 0, true)
) || CASE WHEN i.indisvalid THEN '' ELSE ' -- INVALID' END
FROM pg_index AS i
LEFT JOIN pg_constraint AS n ON n.conindid = i.indexrelid
WHERE i.indrelid = $1
ORDER BY i.indexrelid
"""

# What none of the above would notice.
_OTHERS: Final = """
SELECT relkind::text, relname::text FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind NOT IN ('r', 'i', 'S')
UNION ALL
SELECT 'function', proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL
SELECT 'trigger', tgname FROM pg_trigger WHERE NOT tgisinternal
UNION ALL
SELECT 'type', t.typname FROM pg_type AS t
WHERE t.typnamespace = 'public'::regnamespace AND t.typtype NOT IN ('b', 'c')
"""


def of_postgres(server: Postgres, database: str) -> str:
    """The statements that make this database again, and the rows it begins with.

    Raises:
        AssertionError: it holds something of a kind that is not described here.
    """
    return asyncio.run(_of_postgres(server.url(database)))


async def _of_postgres(url: str) -> str:
    db = await asyncpg.connect(url)
    try:
        others = [tuple(row) for row in await db.fetch(_OTHERS)]
        assert not others, f"describe these too: {others}"
        statements = [each for (each,) in await db.fetch(_SEQUENCES)]
        for table, name, options in await db.fetch(_TABLES):
            parts = [each for (each,) in await db.fetch(_COLUMNS, table)]
            parts += [each for (each,) in await db.fetch(_CONSTRAINTS, table)]
            body = ",\n    ".join(parts)
            end = f" WITH ({options})" if options else ""
            statements.append(f"CREATE TABLE {name} (\n    {body}\n){end}")
            statements += [each for (each,) in await db.fetch(_INDEXES, table, name)]
            if name != _NOT_DATA:
                statements += [_row(name, row) for row in await db.fetch(f"TABLE {name}")]
        return _joined(statements)
    finally:
        await db.close()


def _row(table: str, row: Any) -> str:  # noqa: ANN401 - of the driver
    columns, values = ", ".join(row.keys()), ", ".join(map(repr, row.values()))
    return f"INSERT INTO {table} ({columns}) VALUES ({values})"


async def _migrated_postgres(url: str) -> None:
    await postgres_schema.migrate(url)


# ── SQLite ────────────────────────────────────────────────────────────────────────────────────────


def of_sqlite(db: apsw.Connection) -> str:
    """The statements that make this file again, as SQLite keeps them, without their comments."""
    kept = db.execute(
        "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL"
        " ORDER BY tbl_name, type = 'index', name"
    )
    return _joined([_plain(statement) for (statement,) in kept])


def _plain(statement: str) -> str:
    lines = (re.sub(r"--.*", "", line) for line in statement.splitlines())
    words = [re.sub(r"\s+", " ", line).strip() for line in lines]
    first, *rest = [line for line in words if line]
    return "\n".join([first, *(line if line.startswith(")") else f"    {line}" for line in rest)])


def columns_of_sqlite(db: apsw.Connection) -> Iterator[tuple[Any, ...]]:
    """What SQLite says of tables, columns and indexes, however the statements were written."""
    tables = db.execute(
        "SELECT name, strict, wr FROM pragma_table_list"
        " WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
    ).fetchall()
    for name, *kind in tables:
        yield name, *kind
        for column in db.execute("SELECT * FROM pragma_table_xinfo(?)", (name,)):
            yield name, *column
        for index, *how in db.execute(
            'SELECT name, "unique", origin, partial FROM pragma_index_list(?) ORDER BY name',
            (name,),
        ).fetchall():
            yield index, *how
            for column in db.execute("SELECT * FROM pragma_index_xinfo(?)", (index,)):
                yield index, *column


def _joined(statements: list[str]) -> str:
    return "".join(f"{statement.rstrip()};\n" for statement in statements)


def _write() -> None:
    with tempfile.TemporaryDirectory() as folder:
        db = apsw.Connection(f"{folder}/triggers.db")
        sqlite_schema.migrate(db, now=0)
        SQLITE.write_text(of_sqlite(db))
        db.close()
    with PostgresServer(in_memory=True) as server:
        database = server.create_database()
        asyncio.run(_migrated_postgres(server.url(database)))
        POSTGRES.write_text(of_postgres(server, database))


if __name__ == "__main__":
    _write()
