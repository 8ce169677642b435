"""Where the servers' folder is, and what is decided once for it: ports, passwords and keys."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from seam.errors import SeamError
from seam.files import write_text

HOST = "127.0.0.1"
PORTS: Mapping[str, int] = {
    "MLFLOW_PORT": 5000,
    "PREFECT_PORT": 4200,
    "POSTGRES_PORT": 5433,
    "S3_PORT": 8333,
    "S3_MASTER_PORT": 9333,
    "S3_FILER_PORT": 9334,
    "S3_VOLUME_PORT": 9335,
}
"""The S3 server listens on each of its own and on 10,000 above it, too."""
INNER = 10_000
SECRETS = (
    "POSTGRES_PASSWORD",
    "MLFLOW_DB_PASSWORD",
    "PREFECT_DB_PASSWORD",
    "S3_ADMIN_SECRET",
    "S3_MLFLOW_SECRET",
    "S3_DVC_SECRET",
    "S3_READER_SECRET",
    "S3_INNER_SECRET",
)
_LONGEST = 80
OPTIONS = "MLFLOW_OPTIONS"
"""Further words for `mlflow server`, where somebody added them."""
DATABASES = ("mlflow", "prefect")
"""Each is owned by a role of the same name."""
BUCKETS = ("mlflow", "dvc")
"""Each is open to a key of the same name."""


class ServersError(SeamError, RuntimeError):
    """The servers cannot be started, reached, backed up or restored."""


@dataclass(frozen=True)
class Settings:
    """What `settings.env` in the servers' folder says."""

    folder: Path
    values: Mapping[str, str]

    def port(self, server: str) -> int:
        """Of mlflow, prefect, postgres or s3."""
        return int(self.values[f"{server.upper()}_PORT"])

    @property
    def mlflow_url(self) -> str:
        """Of the MLflow server."""
        return f"http://{HOST}:{self.port('mlflow')}"

    @property
    def prefect_url(self) -> str:
        """Of Prefect's API."""
        return f"http://{HOST}:{self.port('prefect')}/api"

    @property
    def s3_url(self) -> str:
        """Of the S3 server."""
        return f"http://{HOST}:{self.port('s3')}"

    def database_url(self, database: str, driver: str = "postgresql") -> str:
        """Of a database, as its owner, with the password."""
        password = self.values[f"{database.upper()}_DB_PASSWORD"]
        return f"{driver}://{database}:{password}@{HOST}:{self.port('postgres')}/{database}"

    def added(self, server: str) -> dict[str, str]:
        """Variables of a server that somebody added to the file."""
        start = f"{server.upper()}_"
        return {
            name: value
            for name, value in self.values.items()
            if name.startswith(start) and name not in (*PORTS, *SECRETS, OPTIONS)
        }

    def taken_ports(self) -> list[int]:
        """Those that somebody listens on."""
        ports = [int(self.values[name]) for name in PORTS]
        ports += [int(self.values[name]) + INNER for name in PORTS if name.startswith("S3_")]
        return [port for port in ports if _is_taken(port)]


def servers_folder(root: Path) -> Path:
    """SEAM_SERVERS, or `.servers` in the project."""
    return Path(os.environ.get("SEAM_SERVERS") or root / ".servers").absolute()


def read_settings(folder: Path) -> Settings:
    """What was decided when the servers were first started.

    Raises:
        ServersError: they never were.
    """
    path = folder / "settings.env"
    try:
        lines = path.read_text().splitlines()
    except OSError as e:
        raise ServersError(f"{path}: expected the servers' settings, found none; run `make servers` first.") from e
    return Settings(folder, dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#")))


def settled(folder: Path, first_port: int | None = None) -> Settings:
    """The settings of a folder, which is made if need be.

    Args:
        folder: of the servers' data.
        first_port: of consecutive ones, in place of `PORTS`, for a folder that is new.

    Raises:
        ServersError: the folder has ports already, or its path is too long for a socket in it.
    """
    if len(str(folder)) > _LONGEST:
        raise ServersError(
            f"{folder}: expected a path of {_LONGEST} characters at most, as sockets are in it, got {len(str(folder))};"
            " set SEAM_SERVERS to a shorter one."
        )
    if first_port is not None and (folder / "settings.env").is_file():
        raise ServersError(f"{folder}: its ports are chosen; stop the servers and change them in settings.env.")
    if not (folder / "settings.env").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o711 if os.geteuid() == 0 else 0o700)  # root's PostgreSQL runs under another account
        ports = PORTS if first_port is None else {name: first_port + i for i, name in enumerate(PORTS)}
        values = {name: str(port) for name, port in ports.items()} | {name: secrets.token_hex(20) for name in SECRETS}
        text = "# Ports, passwords and keys of the servers in this folder. Keep it to yourself.\n"
        write_private(folder / "settings.env", text + "".join(f"{k}={v}\n" for k, v in values.items()))
    return read_settings(folder)


def write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone may read, atomically."""
    before = os.umask(0o077)
    try:
        write_text(path, text)
    finally:
        os.umask(before)


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
