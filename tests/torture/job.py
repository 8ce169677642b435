"""A small real job: the default stages with small numbers, run again and again, looked at afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import httpx
import psutil
from mlflow import MlflowClient

from tasks.project.lock_text import split
from tasks.project.params import load_params
from tasks.project.stages import KINDS
from tasks.project.subject import chosen, runs_of
from tests.defaults import write_params
from tests.flows import operators
from tests.flows.small_project import PROBLEM, SMALL, make_small_project
from tests.flows.test_pipeline import SAME_BY_EITHER_ROAD

SMALLER = {
    **SMALL,
    "prepare_source": {"epochs": 1},
    "search": {**SMALL["search"], "max_rounds": 6, "accuracy_floor": 0.0},
    "finetune": {"epochs": 1},
    "evaluate_robustness": {"steps": 2},
    "benchmark_latency": {**SMALL["benchmark_latency"], "warmup": 1, "frontier": False},
}
"""Real stages, a second or so each."""
_ZYGOTE = Path(__file__).with_name("zygote.py")
_PATIENCE = 600.0
"""Seconds that nothing takes, on whatever machine."""
_OPEN_STATES = ["RUNNING", "PENDING", "CANCELLING", "PAUSED"]


@dataclass
class Running:
    """A run that was begun; its status is known when it has ended."""

    pid: int
    status: int | None = None


@dataclass
class Job:
    """A project in a folder, a Prefect server, and a process that forks runs."""

    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    """Of the runs, beside those of an operator."""
    zygote: subprocess.Popen[str] | None = None

    def __post_init__(self) -> None:
        self.folder = self.folder.resolve()
        self.project, self.logs = self.folder / "project", self.folder / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        ours = {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "DVC_NO_ANALYTICS": "1", "COLUMNS": "160"}
        self.environment = {
            **operators.environment(self.folder),
            **ours,
            "PYTHONPATH": str(self.project),
            **self.variables,
        }
        if not (self.project / "params.yaml").is_file():
            shutil.rmtree(self.project, ignore_errors=True)
            make_small_project(self.project)
            write_params(self.project / "params.yaml", **SMALLER)
            git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.invalid"]
            subprocess.run([*git, "commit", "-qam", "small"], cwd=self.project, check=True)
        params = load_params(self.project / "params.yaml")
        kind = KINDS["problem"]
        self.stages = [run.stage for run in runs_of(params, kind, chosen(params, kind, [PROBLEM]))]

    @contextmanager
    def ready(self) -> Iterator[str]:
        """With its servers; the address of Prefect's."""
        self.api = self.environment["PREFECT_API_URL"]
        port = self.api.split(":")[2].split("/")[0]
        command = [sys.executable, "-m", "prefect", "server", "start", "--no-ui", "--host", "127.0.0.1", "--port", port]
        with operators.background(command, self.folder, self.environment, self.logs / "prefect.log"):
            operators.wait_for(lambda: httpx.get(f"{self.api}/health").is_success, _PATIENCE, "Prefect", self.logs)
            try:
                self.begin_zygote()
                yield self.api
            finally:
                self.end_zygote()

    def begin_zygote(self, **variables: str) -> None:
        """Have a new process that forks runs."""
        self.end_zygote()
        with (self.logs / "zygote.log").open("a") as log:
            self.zygote = subprocess.Popen(
                [sys.executable, str(_ZYGOTE), str(self.logs / "run.log")],
                cwd=self.project,
                env={**self.environment, **variables},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._answer() == "ready", (self.logs / "zygote.log").read_text()[-3000:]

    def end_zygote(self) -> None:
        if self.zygote is not None:
            _pipe(self.zygote.stdin).close()
            self.zygote.kill()
            self.zygote.wait()
            self.zygote = None

    def begin(self, words: str = "run") -> Running:
        """A run, in a process of its own."""
        assert self.zygote is not None
        stdin = _pipe(self.zygote.stdin)
        stdin.write(f"{words}\n")
        stdin.flush()
        return Running(int(self._answer()))

    def end(self, run: Running) -> int:
        """Wait for its status."""
        if run.status is None:
            run.status = int(self._answer())
        return run.status

    def finish(self) -> int:
        """Run until the end, undisturbed."""
        return self.end(self.begin())

    def _answer(self) -> str:
        assert self.zygote is not None
        return _pipe(self.zygote.stdout).readline().strip()

    def is_going_on(self, run: Running) -> bool:
        try:
            return psutil.Process(run.pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def kept(self) -> set[str]:
        """The stages that are recorded in the locks."""
        found: set[str] = set()
        for lock in (self.project / "dvc.lock", self.project / "problems" / PROBLEM / "dvc.lock"):
            if lock.is_file():
                found |= set(split(lock.read_text()) or ())
        return found & set(self.stages)

    def left(self) -> list[str]:
        """The stages that are to be run, in their order."""
        kept = self.kept()
        return [stage for stage in self.stages if stage not in kept]

    def fresh(self) -> None:
        """As cloned: nothing made, nothing cached, nothing registered."""
        for _ in range(5):  # somebody who was killed may still have written something
            subprocess.run(["git", "clean", "-xdfq", "-e", "/data"], cwd=self.project, check=False)
        subprocess.run(["git", "checkout", "-q", "."], cwd=self.project, check=True)
        shutil.rmtree(self.folder / "site", ignore_errors=True)

    def digests(self) -> dict[str, str]:
        """Of everything that is the same by whatever way it was made."""
        files = {name: self.project / "artifacts" / name for name in SAME_BY_EITHER_ROAD}
        return {
            name: hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "missing"
            for name, file in files.items()
        }

    def half_made(self) -> list[str]:
        """What is wrong with the files that are there, at whatever moment."""
        wrong = []
        for file in (self.project / "artifacts").rglob("*.json"):
            if ".partial" not in str(file):
                try:
                    json.loads(file.read_text())
                except FileNotFoundError:
                    continue
                except ValueError as e:
                    wrong.append(f"{file.relative_to(self.project)}: {e}")
        return wrong

    def faults(self, undisturbed: Mapping[str, str], tracking: str | None = None) -> list[str]:
        """What is wrong after a run that came to its end."""
        differ = [name for name, digest in self.digests().items() if digest != undisturbed[name]]
        wrong = [*self.half_made(), *(f"{name}: not as undisturbed" for name in differ)]
        scraps = [*self.project.glob("artifacts/**/*.partial"), *self.project.glob("[!.]*/**/*.tmp")]
        wrong += [f"{path.relative_to(self.project)} is left" for path in scraps]
        wrong += [f"{stage} is not recorded" for stage in self.left()]
        return [*wrong, *self._in_mlflow(tracking), *self._in_prefect(), *self.processes()]

    def _in_mlflow(self, tracking: str | None) -> list[str]:
        client = MlflowClient(tracking or f"sqlite:///{self.project}/mlflow/mlflow.db")
        experiments = [e.experiment_id for e in client.search_experiments()]
        states = [run.info.status for run in client.search_runs(experiments, max_results=1000)]
        versions = [v.version for v in client.search_model_versions(f"name='seam-{PROBLEM}'")]
        wrong = [f"MLflow: a run is {state}" for state in states if state in ("RUNNING", "SCHEDULED")]
        return wrong + ([] if len(versions) == 1 else [f"MLflow: versions {versions}, expected one"])

    def _in_prefect(self) -> list[str]:
        runs = operators.asked(self.api, "flow_runs", flow_runs={"state": {"type": {"any_": _OPEN_STATES}}})
        return [f"Prefect: {run['name']} is {run['state']['name']}" for run in runs]

    def processes(self) -> list[str]:
        """Processes of runs that have ended, a while later."""
        deadline = time.monotonic() + 30
        while (found := self._of_runs()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return [f"process {pid} is left" for pid in found]

    def _of_runs(self) -> list[int]:
        ours = {os.getpid(), self.zygote.pid if self.zygote else 0}
        found = []
        for process in psutil.process_iter(["cwd", "cmdline"]):
            words = " ".join(process.info["cmdline"] or ())
            is_here = Path(process.info["cwd"] or "/").is_relative_to(self.project)
            if is_here and process.pid not in ours and "prefect" not in words and "mlflow" not in words:
                found.append(process.pid)
        return found

    def said(self, most: int = 1500) -> str:
        """The end of what runs said."""
        log = self.logs / "run.log"
        return log.read_text(errors="replace")[-most:] if log.is_file() else ""


def killed(job: Job, run: Running, how: str) -> str:
    """End a run: with -9 it alone, or with all that it began, or by SIGTERM; what is wrong, or nothing."""
    began = time.monotonic()
    try:
        family = psutil.Process(run.pid).children(recursive=True) if how == "kill -9, all" else []
        os.kill(run.pid, signal.SIGTERM if how == "SIGTERM" else signal.SIGKILL)
        for process in family:
            process.kill()
    except (ProcessLookupError, psutil.NoSuchProcess):
        pass
    while job.is_going_on(run):
        if time.monotonic() - began > _PATIENCE / 5:
            os.kill(run.pid, signal.SIGKILL)
            return f"{how}: still there after {_PATIENCE / 5:.0f} s"
        time.sleep(0.01)
    status = job.end(run)
    return "" if status in (0, -9, 143) else f"{how}: status {status}: {job.said()}"


def until_kept(job: Job, run: Running, stages: Sequence[str]) -> bool:
    """Wait until these stages are recorded; False: the run ended before."""
    deadline = time.monotonic() + _PATIENCE
    while not set(stages) <= job.kept():
        if not job.is_going_on(run):
            return False
        assert time.monotonic() < deadline, f"{stages}: not within {_PATIENCE:.0f} s: {job.said()}"
        time.sleep(0.01)
    return True


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
