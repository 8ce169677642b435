"""What an operator starts, for tests on loopback: a Prefect server, a work pool, deployments, a worker."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
from prefect.client.base import PrefectHttpxSyncClient

Found = TypeVar("Found")
BIN = Path(sys.executable).parent
README = (Path(__file__).parents[2] / "README.md").read_text()


def readme(start: str) -> str:
    """The README's command that starts so, without its comment."""
    (line,) = (line.split("  #")[0].strip() for line in README.splitlines() if line.startswith(start))
    return line


def environment(home: Path, **variables: str) -> dict[str, str]:
    """Of an operator whose server listens on a free port of loopback and keeps its state in `home`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ours = {
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "3",
        "DVC_SITE_CACHE_DIR": str(home / "site"),
        "DO_NOT_TRACK": "true",
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        **variables,
    }
    dropped = ("MLFLOW_TRACKING_URI", "SEAM_STUB", "PYTHONPATH")
    return {**{k: v for k, v in os.environ.items() if k not in dropped and not k.startswith("PREFECT_")}, **ours}


@contextlib.contextmanager
def background(
    command: list[str], cwd: Path, environment: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A process group that is gone after the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        for number, seconds in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, number)
                process.wait(seconds)


def shell(command: str, cwd: Path, environment: dict[str, str]) -> str:
    """The output of a command that must succeed."""
    done = subprocess.run(
        ["sh", "-c", command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def wait_for(condition: Callable[[], Found | None], seconds: float, what: str, logs: Path, every: float = 0.5) -> Found:
    """The first true value of `condition()`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if value := condition():
                return value
        time.sleep(every)
    tails = "\n".join(f"== {p.name}\n{p.read_text()[-3000:]}" for p in logs.glob("*.log"))
    raise AssertionError(f"{what}: not within {seconds} s\n{tails}")


@contextlib.contextmanager
def server(project: Path, environment: dict[str, str], logs: Path) -> Iterator[str]:
    """Step 1 of the README; the address of the API."""
    api = environment["PREFECT_API_URL"]
    port = api.split(":")[2].split("/")[0]
    command = [*readme("prefect server start").split(), "--host", "127.0.0.1", "--port", port]
    with background([sys.executable, "-m", *command], project, environment, logs / "server.log"):
        wait_for(lambda: httpx.get(f"{api}/health").is_success, 120, "server", logs)
        yield api


@contextlib.contextmanager
def worker(project: Path, environment: dict[str, str], logs: Path) -> Iterator[str]:
    """Steps 1 to 4 of the README; the address of the API. The worker starts outside the project."""
    with server(project, environment, logs) as api:
        shell(readme("prefect work-pool create"), project, environment)
        shell(readme("prefect --no-prompt deploy"), project, environment)
        command = [sys.executable, "-m", *readme("prefect worker start").split()]
        with background(command, logs, environment, logs / "worker.log"):
            yield api


def client(api: str) -> PrefectHttpxSyncClient:
    """Asks again where a server with a locked database answers 503, as every client of Prefect does."""
    return PrefectHttpxSyncClient(base_url=api, raise_on_all_errors=False, timeout=60)


def asked(api: str, what: str, **filters: Any) -> Any:
    """The answer to a question of the form POST /WHAT/filter."""
    return client(api).post(f"/{what}/filter", json=filters).json()


def deployment_id(api: str, name: str) -> str:
    """Of the deployment FLOW/NAME."""
    return str(client(api).get(f"/deployments/name/{name}").json()["id"])


def made(api: str, deployment: str, **parameters: object) -> httpx.Response:
    """The answer to the wish to run a deployment."""
    number = deployment_id(api, deployment)
    return client(api).post(f"/deployments/{number}/create_flow_run", json={"parameters": parameters})


def flow_run(api: str, number: str) -> dict[str, Any]:
    """What the server says of a run."""
    answer: dict[str, Any] = client(api).get(f"/flow_runs/{number}").json()
    return answer


def state_of(api: str, number: str) -> dict[str, Any]:
    """The state of a run."""
    state: dict[str, Any] = flow_run(api, number)["state"]
    return state
