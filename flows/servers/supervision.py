"""The servers as processes that a supervisor keeps going: its file, start, stop, state."""

from __future__ import annotations

import os
import shlex
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from flows.servers import buckets
from flows.servers.cluster import account, cluster_folder, cluster_programs, make_cluster, server_version
from flows.servers.programs import run_quietly, supervisord, weed
from flows.servers.settings import HOST, OPTIONS, ServersError, Settings, write_private
from tasks.project.environment import NO_TELEMETRY

START_UP_SECONDS = 120.0
PROGRAMS = ("postgres", "s3", "mlflow", "prefect")
_OF_THE_CALLER = ("MLFLOW_", "PREFECT_", "AWS_", "PG", "WEED_")
"""Variables that mean the caller's own clients."""


def start(settings: Settings) -> None:
    """Start what does not run, and return when every server answers.

    Raises:
        ServersError: one does not, or a port is taken.
    """
    _launch(settings)
    deadline = time.monotonic() + START_UP_SECONDS
    for name in PROGRAMS:
        _wait(settings, name, deadline)
        if name == "s3":
            buckets.make_buckets(settings)


def _launch(settings: Settings) -> None:
    """Start the supervisor, or what it has stopped."""
    running = is_supervised(settings)
    if not running and (taken := settings.taken_ports()):
        raise ServersError(
            f"port {', '.join(map(str, taken))} of {HOST}: expected it to be free, something listens on it; stop that,"
            f" or change the port in {settings.folder / 'settings.env'}."
        )
    for name in ("logs", "s3", "mlflow", "prefect"):
        (settings.folder / name).mkdir(exist_ok=True)
    make_cluster(settings)
    write_private(settings.folder / "s3.json", buckets.identities(settings))
    write_private(_file(settings), _supervisor_file(settings))
    if running:
        _control(settings, "update")
        _control(settings, "start", "all")
    else:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(_OF_THE_CALLER)}
        run_quietly([supervisord(), "-c", _file(settings)], env=inherited | NO_TELEMETRY, cwd=settings.folder)
        _wait_for_supervisor(settings)


def _wait_for_supervisor(settings: Settings) -> None:
    """It goes into the background before it says what its process is."""
    deadline = time.monotonic() + START_UP_SECONDS
    while not _has_process(settings):
        if time.monotonic() > deadline:
            log = settings.folder / "logs" / "supervisord.log"
            raise ServersError(f"the supervisor of the servers did not start; the end of {log} says why.")
        time.sleep(0.05)


def upgrade(settings: Settings) -> str:
    """Start PostgreSQL if it does not run, and bring MLflow's database to the version that is installed.

    Returns:
        What MLflow said.

    Raises:
        ServersError: PostgreSQL does not start, or the database cannot be brought there.
    """
    _launch(settings)
    _wait(settings, "postgres", time.monotonic() + START_UP_SECONDS)
    pause(settings, "mlflow")
    address = f"postgresql://mlflow@{HOST}:{settings.port('postgres')}/mlflow"
    env = {**os.environ, "PGPASSWORD": settings.values["MLFLOW_DB_PASSWORD"]}
    return run_quietly([_python_program("mlflow"), "db", "upgrade", address], env=env, cwd=settings.folder)


def stop(settings: Settings) -> bool:
    """Stop every server, those that use others first; False if none ran."""
    if not is_supervised(settings):
        return False
    pid = int((settings.folder / "supervisord.pid").read_text())
    _control(settings, "shutdown")
    deadline = time.monotonic() + START_UP_SECONDS
    while psutil.pid_exists(pid):
        if time.monotonic() > deadline:
            raise ServersError(f"the supervisor (process {pid}) does not end; see {settings.folder / 'logs'}.")
        time.sleep(0.1)
    return True


def pause(settings: Settings, *names: str) -> None:
    """Stop these alone."""
    _control(settings, "stop", *names)


def go_on(settings: Settings, *names: str) -> None:
    """Start these again, and wait until they answer."""
    _control(settings, "start", *names)
    for name in names:
        _wait(settings, name, time.monotonic() + START_UP_SECONDS)


def states(settings: Settings) -> dict[str, str]:
    """Of each server, what is wrong with it; empty where it answers."""
    return {name: _failure(settings, name) for name in PROGRAMS}


def is_supervised(settings: Settings) -> bool:
    """Whether the supervisor runs here."""
    if not _has_process(settings):
        return False
    try:
        return bool(_control(settings, "pid"))
    except ServersError:  # the number is another process's now
        return False


def addresses(settings: Settings) -> dict[str, str]:
    """Where each server listens."""
    return {
        "postgres": f"{HOST}:{settings.port('postgres')}",
        "s3": settings.s3_url,
        "mlflow": settings.mlflow_url,
        "prefect": settings.prefect_url,
    }


def _control(settings: Settings, *words: str) -> str:
    return run_quietly([supervisord().with_name("supervisorctl"), "-c", _file(settings), *words], cwd=settings.folder)


def _wait(settings: Settings, name: str, deadline: float) -> None:
    while why := _failure(settings, name):
        if time.monotonic() > deadline or not _has_process(settings):
            log = settings.folder / "logs" / f"{name}.log"
            raise ServersError(f"{name} did not start ({why}); the end of {log} says why.")
        time.sleep(0.2)


def _failure(settings: Settings, name: str) -> str:
    asked: Mapping[str, Callable[[], str]] = {
        "postgres": lambda: _postgres_failure(settings),
        "s3": lambda: _http_failure(f"{settings.s3_url}/status"),
        "mlflow": lambda: _http_failure(f"{settings.mlflow_url}/health"),
        "prefect": lambda: _http_failure(f"{settings.prefect_url}/health"),
    }
    return asked[name]()


def _postgres_failure(settings: Settings) -> str:
    try:
        server_version(settings)
    except ServersError as e:
        return str(e)
    return ""


def _http_failure(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=3):
            return ""
    except urllib.error.HTTPError as e:
        return "" if e.code in (401, 403) else f"{url} gives {e.code}"
    except (OSError, ValueError) as e:
        return f"{url}: {getattr(e, 'reason', e)}"


def _has_process(settings: Settings) -> bool:
    try:
        return bool(psutil.pid_exists(int((settings.folder / "supervisord.pid").read_text())))
    except (OSError, ValueError):
        return False


def _file(settings: Settings) -> Path:
    return settings.folder / "supervisord.conf"


def _supervisor_file(settings: Settings) -> str:
    folder = settings.folder
    sections = {
        "unix_http_server": {"file": f"{folder}/supervisor.sock", "chmod": "0700"},
        "supervisord": {
            "logfile": f"{folder}/logs/supervisord.log",
            "pidfile": f"{folder}/supervisord.pid",
            "directory": str(folder),
        },
        "rpcinterface:supervisor": {
            "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
        },
        "supervisorctl": {"serverurl": f"unix://{folder}/supervisor.sock"},
        "program:postgres": _program(settings, "postgres", _postgres(settings), signal="INT", user=account()),
        "program:s3": _program(settings, "s3", _s3(settings), signal="TERM", env=_s3_env(settings)),
        "program:mlflow": _program(settings, "mlflow", _mlflow(settings), signal="TERM", env=_mlflow_env(settings)),
        "program:prefect": _program(settings, "prefect", _prefect(settings), signal="INT", env=_prefect_env(settings)),
    }
    return "".join(
        f"[{name}]\n" + "".join(f"{k}={v}\n" for k, v in options.items()) + "\n" for name, options in sections.items()
    )


def _program(
    settings: Settings,
    name: str,
    command: list[str],
    signal: str,
    env: Mapping[str, str] | None = None,
    user: str | None = None,
) -> dict[str, str]:
    """A program of the supervisor's file; started in the order of `PROGRAMS`, again whenever it ends."""
    options = {
        "command": " ".join(f'"{_plain(word)}"' for word in command),
        "directory": _plain("/" if name == "postgres" else str(settings.folder / name)),
        "priority": str(PROGRAMS.index(name)),
        "autorestart": "true",
        "startsecs": "3",
        "startretries": "20",
        "stopsignal": signal,
        "stopwaitsecs": "30",
        "redirect_stderr": "true",
        "stdout_logfile": _plain(str(settings.folder / "logs" / f"{name}.log")),
        "stdout_logfile_maxbytes": "10MB",
        "stdout_logfile_backups": "5",
    }
    if name in ("mlflow", "prefect"):
        options |= {"stopasgroup": "true", "killasgroup": "true"}
    if env:
        options["environment"] = ",".join(f'{k}="{_plain(v)}"' for k, v in env.items())
    if user:
        options["user"] = user
    return options


def _plain(text: str) -> str:
    """As it stands, in the supervisor's file, where % starts a variable."""
    return text.replace("%", "%%")


def _postgres(settings: Settings) -> list[str]:
    cluster = cluster_folder(settings)
    given = {
        "listen_addresses": HOST,
        "port": str(settings.port("postgres")),
        "unix_socket_directories": "",
        "max_connections": "200",
    }
    options = [word for key, value in given.items() for word in ("-c", f"{key}={value}")]
    return [str(cluster_programs(settings) / "postgres"), "-D", str(cluster), *options]


def _s3(settings: Settings) -> list[str]:
    folder, values = settings.folder / "s3", settings.values
    given = {
        "ip": HOST,
        "ip.bind": HOST,
        "dir": folder,
        "master.telemetry": "false",
        "master.port": values["S3_MASTER_PORT"],
        "master.volumeSizeLimitMB": "1024",
        "volume.port": values["S3_VOLUME_PORT"],
        "volume.preStopSeconds": "0",
        "volume.max": "0",
        "filer": "true",
        "filer.port": values["S3_FILER_PORT"],
        "filer.localSocket": folder / "filer.sock",
        "filer.exposeDirectoryData": "false",
        "s3": "true",
        "s3.port": values["S3_PORT"],
        "s3.localSocket": folder / "s3.sock",
        "s3.config": settings.folder / "s3.json",
        "s3.iam": "false",
        "s3.port.iceberg": "0",
        "s3.port.lance": "0",
    }
    return [str(weed()), "-logtostderr=true", "server", *(f"-{key}={value}" for key, value in given.items())]


def _s3_env(settings: Settings) -> dict[str, str]:
    """A key without which its inner parts, which listen too, take and give nothing."""
    parts = ("SIGNING", "SIGNING_READ", "FILER_SIGNING", "FILER_SIGNING_READ")
    return {f"WEED_JWT_{part}_KEY": settings.values["S3_INNER_SECRET"] for part in parts}


def _mlflow(settings: Settings) -> list[str]:
    where = ["--host", HOST, "--port", str(settings.port("mlflow")), "--workers", "2"]
    return [str(_python_program("mlflow")), "server", *where, *shlex.split(settings.values.get(OPTIONS, ""))]


def _mlflow_env(settings: Settings) -> dict[str, str]:
    return {
        "MLFLOW_BACKEND_STORE_URI": settings.database_url("mlflow"),
        "MLFLOW_ARTIFACTS_DESTINATION": "s3://mlflow",
        "MLFLOW_S3_ENDPOINT_URL": settings.s3_url,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "AWS_ACCESS_KEY_ID": "mlflow",
        "AWS_SECRET_ACCESS_KEY": buckets.secret(settings, "mlflow"),
        "AWS_DEFAULT_REGION": buckets.REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        **settings.added("mlflow"),
    }


def _prefect(settings: Settings) -> list[str]:
    where = ["--host", HOST, "--port", str(settings.port("prefect"))]
    return [str(_python_program("prefect")), "server", "start", *where]


def _prefect_env(settings: Settings) -> dict[str, str]:
    return {
        "PREFECT_API_DATABASE_CONNECTION_URL": settings.database_url("prefect", "postgresql+asyncpg"),
        "PREFECT_HOME": str(settings.folder / "prefect"),
        "PREFECT_API_URL": settings.prefect_url,
        **settings.added("prefect"),
    }


def _python_program(name: str) -> Path:
    return Path(sys.executable).parent / name
