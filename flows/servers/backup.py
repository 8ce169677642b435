"""A backup: the databases as they stood at one instant, the objects of both buckets, and a list of all of it.

The databases first: what they name is in the buckets by then, and stays. A backup that was begun
and not ended has a name with a dot, and the next one removes it.
"""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.servers import buckets
from flows.servers.cluster import ADMIN, connected, server_version
from flows.servers.programs import postgres_client, run_quietly
from flows.servers.settings import BUCKETS, DATABASES, HOST, ServersError, Settings
from flows.servers.supervision import states
from seam.errors import SeamError
from seam.files import read_json, sha256_file, write_json

LIST = "backup.json"
ASKED = 3
"""Models that a backup notes the answers of; the bytes of all are compared."""
_IS_LIVE = {"runs": "lifecycle_stage = 'active'", "model_versions": "current_stage <> 'Deleted_Internal'"}


def make_backup(settings: Settings, folder: Path) -> tuple[Path, str]:
    """Write a backup into a new folder in `folder`, whole or not at all.

    Returns:
        The new folder, and what is in it in one line.

    Raises:
        ServersError: PostgreSQL or the S3 server does not answer, or an object vanished meanwhile.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for unfinished in folder.glob(".seam-*"):
        shutil.rmtree(unfinished)
    name = f"seam-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    making, before = folder / f".{name}", _newest(folder)
    making.mkdir(mode=0o700)
    databases = {database: _dump(settings, database, making) for database in DATABASES}
    contents = {bucket: _copy(settings, bucket, making, before) for bucket in BUCKETS}
    models, live = (databases["mlflow"].pop(key) for key in ("models", "live"))
    said, doubt = _answers(settings, models)
    content = {"made": name, "databases": databases, "buckets": contents, "models": models, "answers": said}
    write_json(making / LIST, content)
    _flush(making)
    making.rename(folder / name)
    size = sum(found["size"] for found in (*contents["mlflow"], *contents["dvc"]))
    words = (
        f"{live.get('runs', 0)} runs, {live.get('model_versions', 0)} versions of models,"
        f" {sum(map(len, contents.values()))} objects of {size / 2**20:.1f} MiB"
    )
    return folder / name, f"{words}{doubt}"


def read_backup(folder: Path) -> dict[str, Any]:
    """The list of a backup, every file of which was looked at.

    Raises:
        ServersError: it is no backup, or a file is missing or another.
    """
    try:
        content = read_json(folder / LIST)
    except (OSError, ValueError) as e:
        raise ServersError(f"{folder}: expected a backup (a folder with {LIST}), found none; name one.") from e
    files = [(found["file"], found["sha256"]) for found in content["databases"].values()]
    files += [
        (f"{bucket}/{found['key']}", found["sha256"]) for bucket in BUCKETS for found in content["buckets"][bucket]
    ]
    for name, sha256 in files:
        if not (folder / name).is_file() or sha256_file(folder / name) != sha256:
            raise ServersError(
                f"{folder / name}: expected SHA-256 {sha256[:12]}…, the file is missing or damaged; take"
                " another backup."
            )
    return content


def rows_of(cursor: Any) -> dict[str, int]:
    """How many rows each table of a database has."""
    cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename")
    rows = {}
    for (table,) in cursor.fetchall():
        cursor.execute(f'SELECT count(*) FROM "{table}"')
        rows[table] = int(cursor.fetchone()[0])
    return rows


def password(settings: Settings, name: str) -> dict[str, str]:
    """The environment of a PostgreSQL client."""
    return {**os.environ, "PGPASSWORD": settings.values[name]}


def _dump(settings: Settings, database: str, into: Path) -> dict[str, Any]:
    """Dump a database; count its rows in the same snapshot."""
    file = into / f"{database}.dump"
    with _snapshot(settings, database) as (cursor, snapshot):
        rows = rows_of(cursor)
        found: dict[str, Any] = {"file": file.name, "rows": rows}
        if database == "mlflow":
            found["models"] = _models(cursor) if "registered_model_aliases" in rows else []
            found["live"] = _live(cursor, rows)
        where: list[str | Path] = ["-h", HOST, "-p", str(settings.port("postgres")), "-U", ADMIN, "-d", database]
        how: list[str | Path] = [
            "--format",
            "custom",
            "--no-owner",
            "--no-privileges",
            "--snapshot",
            snapshot,
            "--file",
            file,
        ]
        program = postgres_client(server_version(settings)) / "pg_dump"
        run_quietly([program, *where, *how], env=password(settings, "POSTGRES_PASSWORD"))
    return {**found, "sha256": sha256_file(file)}


@contextmanager
def _snapshot(settings: Settings, database: str) -> Iterator[tuple[Any, str]]:
    """A cursor that sees the database as it is now, and the name under which pg_dump sees the same."""
    with connected(settings, database) as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        cursor.execute("SELECT pg_export_snapshot()")
        yield cursor, str(cursor.fetchone()[0])
        cursor.execute("COMMIT")


def _models(cursor: Any) -> list[dict[str, Any]]:
    """Which version each alias stands for."""
    cursor.execute("SELECT name, alias, version FROM registered_model_aliases ORDER BY name, alias")
    return [{"name": name, "alias": alias, "version": int(version)} for name, alias, version in cursor.fetchall()]


def _live(cursor: Any, tables: Collection[str]) -> dict[str, int]:
    """How many runs and versions of models there are; MLflow keeps the rows of those that were deleted."""
    found = {}
    for table, is_live in _IS_LIVE.items():
        if table in tables:
            cursor.execute(f"SELECT count(*) FROM {table} WHERE {is_live}")
            found[table] = int(cursor.fetchone()[0])
    return found


def _copy(settings: Settings, bucket: str, into: Path, before: Path | None) -> list[dict[str, Any]]:
    """Copy a bucket; an object that the backup before has already is the same file."""
    known = {found["key"]: found for found in read_json(before / LIST)["buckets"][bucket]} if before else {}
    copied = []
    with buckets.opened(settings) as client:
        for found in buckets.objects(client, bucket):
            path = into / bucket / found["key"]
            if not path.resolve().is_relative_to((into / bucket).resolve()):
                raise ServersError(f"s3://{bucket}/{found['key']}: expected a name that a file can have; remove it.")
            path.parent.mkdir(parents=True, exist_ok=True)
            had = known.get(found["key"], {})
            if before and all(had.get(key) == value for key, value in found.items()):
                os.link(before / bucket / found["key"], path)
                copied.append(had)
                continue
            client.download_file(bucket, found["key"], str(path))
            copied.append({**found, "sha256": sha256_file(path)})
    return copied


def _answers(settings: Settings, models: list[Mapping[str, Any]]) -> tuple[dict[str, Any], str]:
    """What the first models with an alias answer; and why that is not known, where it is not."""
    if why := states(settings)["mlflow"]:
        return {}, f"; no model was asked, since MLflow does not answer ({why})"
    asked = sorted({(model["name"], model["version"]) for model in models})[:ASKED]
    if not asked:
        return {}, ""
    try:
        return importlib.import_module("tasks.tracking.champions").answers(settings.mlflow_url, asked), ""
    except SeamError as e:
        return {}, f"; no model was asked: {e}"


def _newest(folder: Path) -> Path | None:
    """The newest backup of a folder."""
    return max((path.parent for path in folder.glob(f"seam-*/{LIST}")), default=None)


def _flush(folder: Path) -> None:
    """Have what was written on the disk before it gets its name."""
    for path in (folder, *folder.rglob("*")):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
