"""The operator's four commands, for real on loopback: server, work pool, deploy, worker.

And a scheduled run that completes.

The stages are stubs: what is tested is that a schedule really leads to a run of our flow in a
worker.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.flows.ran import stage_runs
from tests.stub_stages.sitecustomize import make_project

pytestmark = pytest.mark.slow

STUBS = Path(__file__).parents[1] / "stub_stages"
CRON = '- cron: "0 2 * * *"\n        timezone: UTC'
BIN = Path(sys.executable).parent
README = (Path(__file__).parents[2] / "README.md").read_text()


def readme(start: str) -> str:
    """The README's command that starts so, without its comment."""
    (line,) = (line.split("  #")[0].strip() for line in README.splitlines() if line.startswith(start))
    return line


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = make_project(tmp_path / "project")
    text = (root / "prefect.yaml").read_text()
    assert CRON in text
    (root / "prefect.yaml").write_text(text.replace(CRON, "- interval: 20"))
    return root


@pytest.fixture
def environment(project: Path, tmp_path: Path) -> dict[str, str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ours = {
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "3",
        "DVC_SITE_CACHE_DIR": str(tmp_path / "site"),
        "DO_NOT_TRACK": "true",
        "PYTHONPATH": str(STUBS),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }
    dropped = ("MLFLOW_TRACKING_URI", "PREFECT_PROFILE", "SEAM_STUB")
    return {**{k: v for k, v in os.environ.items() if k not in dropped and not k.startswith("PREFECT_")}, **ours}


@contextlib.contextmanager
def background(command: list[str], cwd: Path, environment: dict[str, str], log: Path) -> Iterator[None]:
    """A process group that is gone after the block. SIGINT is restored: Prefect's own SIGTERM handler relies on it."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    try:
        yield
    finally:
        for number, seconds in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, number)
                process.wait(seconds)


def shell(command: str, cwd: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["sh", "-c", command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def wait_for(condition, seconds: float, what: str, logs: Path):  # type: ignore[no-untyped-def]
    """The first true value of `condition()`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if value := condition():
                return value
        time.sleep(0.5)
    tails = "\n".join(f"== {p.name}\n{p.read_text()[-3000:]}" for p in logs.glob("*.log"))
    raise AssertionError(f"{what}: not within {seconds} s\n{tails}")


def test_a_scheduled_run_appears_and_completes(project: Path, environment: dict[str, str], tmp_path: Path) -> None:
    api = environment["PREFECT_API_URL"]
    port = api.split(":")[2].split("/")[0]
    with contextlib.ExitStack() as stack:
        server = [*readme("prefect server start").split(), "--host", "127.0.0.1", "--port", port]
        stack.enter_context(background([sys.executable, "-m", *server], project, environment, tmp_path / "server.log"))
        wait_for(lambda: httpx.get(f"{api}/health").is_success, 120, "server", tmp_path)
        shell(readme("prefect work-pool create"), project, environment)
        shell(readme("prefect --no-prompt deploy"), project, environment)
        worker = readme("prefect worker start").split()
        stack.enter_context(background([sys.executable, "-m", *worker], tmp_path, environment, tmp_path / "worker.log"))

        def ended() -> dict[str, object] | None:
            runs = httpx.post(
                f"{api}/flow_runs/filter",
                json={"flow_runs": {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}}},
            ).json()
            return runs[0] if runs else None

        run = wait_for(ended, 150, "a scheduled run that ends", tmp_path)
        tasks = httpx.post(f"{api}/task_runs/filter", json={"task_runs": {"flow_run_id": {"any_": [run["id"]]}}}).json()
        artifacts = httpx.post(
            f"{api}/artifacts/filter", json={"artifacts": {"flow_run_id": {"any_": [run["id"]]}}}
        ).json()
    assert run["auto_scheduled"] and run["state"]["type"] == "COMPLETED", run["state"]["message"]
    assert run["state"]["message"] == "2 of 2 target problems done: digit-3, low-digits."
    names = {task["name"] for task in tasks}
    assert (
        len(names) == stage_runs(problems=2)
        and {"validate_data", "search [low-digits]", "register_model [digit-3]"} <= names
    )
    assert {"search-digit-3", "report-digit-3"} <= {a["key"] for a in artifacts}
    assert (project / "artifacts/digit-3/register_model/report.html").is_file()
