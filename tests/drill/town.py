"""A team on one machine: servers, a scheduler, workers in clones of their own, and somebody who leads a sweep."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil

from flows.servers import buckets
from flows.servers.settings import Settings
from tests.defaults import write_params
from tests.flows.small_project import SMALL, make_small_project

SEAM = [sys.executable, "-m", "flows.cli"]
SHORT = {**SMALL["search"], "max_rounds": 6, "accuracy_floor": 0.0}
SMALLER = {**SMALL, "search": SHORT}
"""Real stages, seconds each."""
NAME = "drill"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(true: Callable[[], object], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.2)


class Town:
    """Everything is a real process; what it did is read from the logs that it writes."""

    def __init__(self, folder: Path, problems: dict[str, list[str]], workers: int) -> None:
        self.folder, self.problems = folder, problems
        self.lead = folder / "lead"
        self.clones = [folder / f"worker-{i}" for i in range(workers)]
        self.processes: dict[str, subprocess.Popen] = {}
        self.variables: dict[str, str] = {}
        self.scheduler = f"tcp://127.0.0.1:{free_port()}"
        self.begun = 0
        """How often the sweep was."""
        self.disturbed: list[str] = []
        """What was done to it, in order."""

    def build(self) -> None:
        """The project of the one who leads; the clones follow once DVC's remote is known."""
        make_small_project(self.lead)
        write_params(self.lead / "params.yaml", **{**SMALLER, "problems": self.problems})
        git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.invalid"]
        subprocess.run([*git, "commit", "-qam", "problems"], cwd=self.lead, check=True)

    def name_remote(self, **remote: str) -> None:
        """DVC's remote, in each clone's own configuration; data goes there first."""
        section = "".join(f"    {key} = {value}\n" for key, value in remote.items())
        text = f"[core]\n    remote = team\n['remote \"team\"']\n{section}"
        (self.lead / ".dvc/config.local").write_text(text)
        self.call(self.lead, sys.executable, "-m", "dvc", "push", "-q", "data.dvc")
        for clone in self.clones:
            subprocess.run(["git", "clone", "-q", str(self.lead), str(clone)], check=True)
            (clone / ".dvc/config.local").write_text(text)
            self.call(clone, sys.executable, "-m", "dvc", "pull", "-q", "data.dvc")

    def connect(self, servers: Settings) -> None:
        """Everybody uses these servers, which run: their S3 as DVC's remote, their MLflow and Prefect."""
        self.name_remote(
            url="s3://dvc",
            endpointurl=servers.s3_url,
            access_key_id="dvc",
            secret_access_key=buckets.secret(servers, "dvc"),
            region=buckets.REGION,
        )
        self.variables = {"MLFLOW_TRACKING_URI": servers.mlflow_url, "PREFECT_API_URL": servers.prefect_url}

    def environment(self, root: Path) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "SEAM_"))}
        return {
            **kept,
            "PYTHONPATH": str(root),
            "PREFECT_HOME": str(self.folder / "prefect"),
            "DVC_NO_ANALYTICS": "1",
            "COLUMNS": "160",
            "OMP_NUM_THREADS": "1",
            **self.variables,
        }

    def call(self, root: Path, *command: str) -> str:
        done = subprocess.run(
            command, cwd=root, env=self.environment(root), capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def start(self, name: str, root: Path, *command: str) -> None:
        """A process of its own group, its output in a file."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, cwd=root, env=self.environment(root), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def start_scheduler(self) -> None:
        port = self.scheduler.rpartition(":")[2]
        self.start("scheduler", self.lead, *SEAM, "scheduler", "--port", port)
        wait_until(lambda: listens(int(port)), 60, "the scheduler")

    def start_worker(self, number: int, scheduler: str | None = None) -> None:
        clone = self.clones[number]
        self.start(
            clone.name, clone, *SEAM, "worker", "--scheduler", scheduler or self.scheduler, "--folder", str(clone)
        )

    def kill(self, name: str) -> None:
        """-9 to a process and all it started."""
        process = self.processes.pop(name)
        try:
            family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        except psutil.NoSuchProcess:
            family = []
        for one in family:
            try:
                one.kill()
            except psutil.NoSuchProcess:
                continue
        process.wait()

    def begin_sweep(self) -> None:
        self.begun += 1
        self.start("sweep", self.lead, *SEAM, "sweep", "--scheduler", self.scheduler, "--name", NAME)

    def end_sweep(self, seconds: float = 900) -> tuple[int, str]:
        """Status of a sweep that was begun, and all that it said."""
        status = self.processes.pop("sweep").wait(seconds)
        return status, (self.folder / "sweep.log").read_text()

    def stop(self) -> None:
        for process in self.processes.values():
            try:
                os.killpg(process.pid, signal.SIGTERM)
            except ProcessLookupError:
                continue
        for process in self.processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def events(self) -> list[tuple[str, str, str]]:
        """Worker, stage and what happened ("begins", "is kept"), as the workers' logs have it, in order."""
        found = []
        for clone in self.clones:
            log = clone / ".seam/seam.log"
            for line in log.read_text().splitlines() if log.is_file() else ():
                match = re.search(r"flows\.sweeps\.work: (.+): (begins|is kept)$", line)
                if match:
                    found.append((line[:23], clone.name, match[1], match[2]))
        return [event[1:] for event in sorted(found)]

    def counted(self, what: str) -> Counter[str]:
        """How often a stage of a subject began, or was kept."""
        return Counter(stage for _, stage, happened in self.events() if happened == what)

    def busy_with(self, stage: str) -> int | None:
        """A worker that is in the middle of a stage of any problem."""
        last: dict[str, tuple[str, str]] = {}
        for worker, label, happened in self.events():
            last[worker] = (label, happened)
        for worker, (label, happened) in last.items():
            if happened == "begins" and label.startswith(stage):
                return int(worker.rpartition("-")[2])
        return None

    def records(self) -> dict[str, dict]:
        """Of the points, by key."""
        files = (self.lead / "sweeps" / NAME / "points").glob("*.json")
        return {record["key"]: record for record in map(json.loads, (f.read_text() for f in files))}


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wipe(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
