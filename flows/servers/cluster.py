"""The PostgreSQL cluster of the servers: made with its roles and databases, opened, whether it answers."""

from __future__ import annotations

import importlib
import os
import pwd
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows.servers.programs import INSTALL, postgres_server, run_quietly
from flows.servers.settings import DATABASES, HOST, ServersError, Settings, write_private

ADMIN = "postgres"
_ACCOUNT = "postgres"


def account() -> str | None:
    """Who runs PostgreSQL, which root may not: None for whoever asks.

    Raises:
        ServersError: there is no such account.
    """
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(_ACCOUNT).pw_name
    except KeyError:
        raise ServersError(
            f"PostgreSQL does not run as root: expected an account {_ACCOUNT}, found none; `useradd --system"
            f" {_ACCOUNT}`, or start the servers as another user."
        ) from None


def cluster_folder(settings: Settings) -> Path:
    """Where PostgreSQL's data is."""
    return settings.folder / "postgres"


def cluster_programs(settings: Settings) -> Path:
    """The folder of PostgreSQL's programs of the version that made the cluster."""
    return postgres_server(int((cluster_folder(settings) / "PG_VERSION").read_text()))


def make_cluster(settings: Settings) -> None:
    """Make the cluster with a role and a database for each server, whole or not at all; nothing if it is there."""
    final, user = cluster_folder(settings), account()
    if final.exists():
        return
    programs, making = postgres_server(), settings.folder / "postgres.new"
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o700)
    password = settings.folder / "postgres.password"
    write_private(password, settings.values["POSTGRES_PASSWORD"] + "\n")
    if user:
        shutil.chown(making, user, user)
        shutil.chown(password, user)
    try:
        options = ["--username", ADMIN, "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8"]
        run_quietly(
            [programs / "initdb", "-D", making, "--pwfile", password, "--data-checksums", *options],
            user,
            cwd="/",
        )
        run_quietly([programs / "postgres", "--single", "-D", making, ADMIN], user, cwd="/", input=_roles(settings))
    finally:
        password.unlink()
    making.rename(final)


def _roles(settings: Settings) -> str:
    """Statements, one a line: each server owns its database and can open no other."""
    lines = []
    for name in DATABASES:
        lines.append(f"CREATE ROLE {name} LOGIN PASSWORD '{settings.values[f'{name.upper()}_DB_PASSWORD']}'")
        lines.append(f"CREATE DATABASE {name} OWNER {name}")
        lines.append(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
    return "".join(f"{line};\n" for line in lines)


@contextmanager
def connected(settings: Settings, database: str = ADMIN) -> Iterator[Any]:
    """A cursor of the administrator; every statement stands at once.

    Raises:
        ServersError: PostgreSQL does not answer, or refuses a statement.
    """
    psycopg2 = _driver()
    where = f"PostgreSQL at {HOST}:{settings.port('postgres')}"
    try:
        connection = psycopg2.connect(
            host=HOST,
            port=settings.port("postgres"),
            user=ADMIN,
            password=settings.values["POSTGRES_PASSWORD"],
            dbname=database,
            connect_timeout=5,
        )
    except psycopg2.Error as e:
        raise ServersError(f"{where} cannot be opened ({_one_line(e)}); `make servers` starts it.") from e
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor
    except psycopg2.Error as e:
        raise ServersError(f"{where}, database {database}: {_one_line(e)}") from e
    finally:
        connection.close()


def server_version(settings: Settings) -> int:
    """Major version of the PostgreSQL that answers."""
    with connected(settings) as cursor:
        cursor.execute("SHOW server_version_num")
        return int(cursor.fetchone()[0]) // 10_000


def _driver() -> Any:
    try:
        return importlib.import_module("psycopg2")
    except ImportError as e:
        raise ServersError(f"psycopg2: expected the package psycopg2-binary, found none; {INSTALL}.") from e


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
