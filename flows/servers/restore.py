"""Bringing a backup into the servers that run: objects, then databases beside the present ones, which change places.

Until they do, the registry is as it was. MLflow opens its database anew; Prefect, which keeps some of
it in memory, stops meanwhile.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.servers import buckets
from flows.servers.backup import password, read_backup, rows_of
from flows.servers.cluster import connected, server_version
from flows.servers.programs import postgres_client, run_quietly
from flows.servers.settings import BUCKETS, DATABASES, HOST, ServersError, Settings
from flows.servers.supervision import go_on, is_supervised, pause
from seam.errors import SeamError

_CONTENT = {"mlflow": ("runs", "registered_models"), "prefect": ("flow_run", "deployment")}
"""Tables whose rows somebody made."""
_NEW = "restoring"


def restore_backup(settings: Settings, folder: Path, replace: bool) -> str:
    """Bring a backup into the servers that run.

    Args:
        settings: of the servers.
        folder: of the backup.
        replace: put what the databases hold aside.

    Returns:
        What was brought back, and where what was there before is.

    Raises:
        ServersError: the backup is damaged, the registry is not empty, or what came back is not what was saved.
    """
    content = read_backup(folder)
    full = [name for name in DATABASES if _holds_something(settings, name)]
    if full and not replace:
        raise ServersError(
            f"the database{'s' * (len(full) > 1)} {' and '.join(full)} at {HOST}:{settings.port('postgres')}: expected"
            " an empty registry, it has models or runs; `--replace` (make restore REPLACE=1) puts them aside."
        )
    for bucket in BUCKETS:
        _upload(settings, bucket, folder, content["buckets"][bucket])
    for name in DATABASES:
        _fill(settings, name, folder / content["databases"][name]["file"], content["databases"][name]["rows"])
    old = f"before_{datetime.now(UTC):%Y%m%dt%H%M%Sz}"
    with _at_rest(settings):
        _swap(settings, away=old, come=_NEW)
    _check(settings, content, old)
    words = f"restored {content['made']}: {len(content['models'])} aliases, {len(content['answers'])} models asked"
    if not full:
        _drop(settings, [f"{name}_{old}" for name in DATABASES])
        return words
    return f"{words}; what was there before is in the databases {' and '.join(f'{name}_{old}' for name in DATABASES)}"


def _holds_something(settings: Settings, database: str) -> bool:
    with connected(settings, database) as cursor:
        rows = rows_of(cursor)
    return any(rows.get(table) for table in _CONTENT[database])


def _upload(settings: Settings, bucket: str, folder: Path, wanted: list[dict[str, Any]]) -> None:
    """Bring the objects that are missing or others; those that the backup does not know stay."""
    with buckets.opened(settings) as client:
        there = {found["key"]: (found["size"], found["etag"]) for found in buckets.objects(client, bucket)}
        for found in wanted:
            if there.get(found["key"]) != (found["size"], found["etag"]):
                client.upload_file(str(folder / bucket / found["key"]), bucket, found["key"])
        sizes = {found["key"]: found["size"] for found in buckets.objects(client, bucket)}
    lost = [found["key"] for found in wanted if sizes.get(found["key"]) != found["size"]]
    if lost:
        raise ServersError(f"s3://{bucket}: {len(lost)} objects did not arrive, {lost[0]} is one; restore again.")


def _fill(settings: Settings, database: str, dump: Path, rows: dict[str, int]) -> None:
    """Make the database that will take the place of this one, and compare its rows."""
    new = f"{database}_{_NEW}"
    _drop(settings, [new])
    with connected(settings) as cursor:
        cursor.execute(f"CREATE DATABASE {new} OWNER {database}")
        cursor.execute(f"REVOKE ALL ON DATABASE {new} FROM PUBLIC")
    program = postgres_client(server_version(settings)) / "pg_restore"
    where: list[str | Path] = ["-h", HOST, "-p", str(settings.port("postgres")), "-U", database, "-d", new]
    how: list[str | Path] = ["--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction", dump]
    run_quietly([program, *where, *how], env=password(settings, f"{database.upper()}_DB_PASSWORD"))
    with connected(settings, new) as cursor:
        found = rows_of(cursor)
    if found != rows:
        other = next(table for table in sorted({*rows, *found}) if rows.get(table) != found.get(table))
        raise ServersError(
            f"{dump}: expected {rows.get(other)} rows in {other}, got {found.get(other)}; the registry is as it was."
        )


def _swap(settings: Settings, away: str, come: str) -> None:
    """Give the databases their names, all at once."""
    try:
        with connected(settings) as cursor:
            for name in DATABASES:
                cursor.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
                cursor.execute(
                    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s", (name,)
                )
            cursor.execute("BEGIN")
            for name in DATABASES:
                cursor.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
                cursor.execute(f"ALTER DATABASE {name} RENAME TO {name}_{away}")
                cursor.execute(f"ALTER DATABASE {name}_{come} RENAME TO {name}")
            cursor.execute("COMMIT")
    finally:
        with connected(settings) as cursor:
            for name in DATABASES:
                cursor.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


@contextmanager
def _at_rest(settings: Settings) -> Iterator[None]:
    """Prefect does not run in the block, if it is ours to stop."""
    supervised = is_supervised(settings)
    if supervised:
        pause(settings, "prefect")
    try:
        yield
    finally:
        if supervised:
            go_on(settings, "prefect")


def _check(settings: Settings, content: dict[str, Any], old: str) -> None:
    """The models answer as they did; if not, what was there comes back."""
    models = [(name, int(version)) for name, _, version in (model.rpartition("/") for model in content["answers"])]
    if not models:
        return
    champions = importlib.import_module("tasks.tracking.champions")
    try:
        wrong = champions.differing(content["answers"], champions.answers(settings.mlflow_url, models))
        why = f"{', '.join(wrong)}: expected the answers noted in the backup, got others" if wrong else ""
    except SeamError as e:
        why = str(e)
    if why:
        refused = old.replace("before", "refused")
        with _at_rest(settings):
            _swap(settings, away=refused, come=old)
        aside = " and ".join(f"{name}_{refused}" for name in DATABASES)
        raise ServersError(f"{why}; the registry is as it was, what came back is in the databases {aside}.")


def _drop(settings: Settings, databases: list[str]) -> None:
    with connected(settings) as cursor:
        for name in databases:
            cursor.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
