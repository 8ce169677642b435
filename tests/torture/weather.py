"""Bad weather for a job: each takes something away for a while, and says what shows afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random

import httpx

from tests.flows import operators
from tests.torture.job import Job
from tests.torture.moments import Undisturbed

Weather = Callable[[Job, Undisturbed, int], list[str]]
CLOCK = Path(__file__).with_name("clock.c")
_FOLDERS = ("artifacts", ".dvc", "mlflow", "problems")
_DAY = 86_400


class Skipped(Exception):
    """This machine does not permit it."""


def disk_full(job: Job, right: Undisturbed, seed: int) -> list[str]:
    """Less and less room for results, then for the cache; and then enough."""
    wrong = []
    for name in ("artifacts", ".dvc/cache"):
        with mounted(job.project / name, 64) as resize:
            for kibibytes in sorted(Random(seed).sample(range(16, 3_000), 5)):
                resize(kibibytes)
                wrong += _one_line(job, f"{kibibytes} KiB for {name}", "disk is full", "No space left")
            resize(1 << 18)
            wrong += _to_the_end(job, right)
        job.fresh()
    return wrong


def small_files(job: Job, right: Undisturbed, seed: int) -> list[str]:
    """No file may grow beyond a size (RLIMIT_FSIZE), as under a quota."""
    wrong = []
    for kibibytes in sorted(Random(seed).sample(range(64, 1_500), 6)):
        (job.logs / "run.log").unlink(missing_ok=True)  # it may not grow beyond that either
        wrong += _one_line(
            job,
            f"files of {kibibytes} KiB",
            "disk is full",
            "no file may be so large",
            words=f"fsize={kibibytes << 10} run",
        )
    return wrong + _to_the_end(job, right)


def read_only(job: Job, right: Undisturbed, seed: int) -> list[str]:
    """Folders that cannot be written, in turn, before a run and in the middle of one."""
    wrong = []
    for name in _FOLDERS:
        with bound(job.project / name, writable=False):
            wrong += _one_line(job, f"{name} read-only", "read-only", "cannot be opened")
        said, run = len(job.said(1 << 30)), job.begin()
        time.sleep(Random(seed).random() * sum(right.seconds.values()))
        with bound(job.project / name, writable=False):
            job.end(run)
        wrong += _no_traceback(job, f"{name} read-only from some moment on", said)
        wrong += _to_the_end(job, right)
        job.fresh()
    return wrong


def servers_away(job: Job, right: Undisturbed, seed: int) -> list[str]:
    """MLflow and Prefect as servers of their own, killed and started again while runs go on."""
    draw, wrong = Random(seed), list[str]()
    with _mlflow(job) as (address, restart_mlflow), _prefect(job) as restart_prefect:
        job.begin_zygote(MLFLOW_TRACKING_URI=address, PREFECT_API_URL=job.api)
        for restart in (restart_mlflow, restart_prefect, restart_mlflow, restart_prefect):
            said, run = len(job.said(1 << 30)), job.begin()
            time.sleep(draw.random() * sum(right.seconds.values()))
            restart(draw.uniform(0, 20))
            job.end(run)
            wrong += _no_traceback(job, "a server away", said)
        for _ in range(3):  # one may have ended while none answered
            if job.finish() == 0:
                break
        wrong += job.faults(right.digests, address)
    job.begin_zygote()
    return wrong


def clock_jumps(job: Job, right: Undisturbed, seed: int) -> list[str]:
    """The clock of every process jumps by a day, a year, ten years, to and fro, while runs go on."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise Skipped("there is no C compiler for the library that shifts the clock")
    library, offset = job.folder / "clock.so", job.folder / "offset"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, CLOCK, "-ldl"], check=True)
    offset.write_text("0")
    job.begin_zygote(LD_PRELOAD=str(library), CLOCK_OFFSET=str(offset))
    draw = Random(seed)
    run = job.begin()
    while job.is_going_on(run):
        offset.write_text(str(draw.choice((-3650, -365, -1, 0, 1, 365, 3650)) * _DAY))
        time.sleep(draw.random() * 2)
    wrong = [] if job.end(run) == 0 else [f"while the clock jumped: {job.said()}"]
    offset.write_text(str(-400 * _DAY))
    wrong += _to_the_end(job, right)
    job.begin_zygote()
    return wrong


def file_times(job: Job, right: Undisturbed, seed: int) -> list[str]:
    """Times of all files in the past or the future: nothing is taken for old or new by them."""
    wrong = _to_the_end(job, right)
    draw = Random(seed)
    for file in [
        *(job.project / "artifacts").rglob("*"),
        *job.project.glob("[!.]*/**/*.py"),
        job.project / "params.yaml",
    ]:
        at = draw.choice((0, time.time() - 9000 * _DAY, time.time() + 9000 * _DAY))
        if file.is_file():
            os.utime(file, (at, at))
    said = len(job.said(1 << 30))
    wrong += _to_the_end(job, right)
    made = [line for line in job.said(1 << 30)[said:].splitlines() if line.startswith("✓")]
    return wrong + [f"made again: {line}" for line in made if "up to date" not in line and "restored" not in line]


WEATHER: Mapping[str, Weather] = {
    "disk full": disk_full,
    "small files": small_files,
    "read-only folders": read_only,
    "servers away": servers_away,
    "clock jumps": clock_jumps,
    "file times": file_times,
}


def _to_the_end(job: Job, right: Undisturbed) -> list[str]:
    status = job.finish()
    return [
        *([] if status == 0 else [f"the run afterwards: status {status}: {job.said()}"]),
        *job.faults(right.digests),
    ]


def _one_line(job: Job, when: str, *any_of: str, words: str = "run") -> list[str]:
    """What is wrong with a run that cannot come to its end, and has to say why; one that does is right."""
    said = len(job.said(1 << 30))
    status, text = job.end(job.begin(words)), ""
    text = job.said(1 << 30)[said:]
    if status == 0:
        return job.half_made()
    named = any(word in text for word in any_of)
    wrong = [] if named and status == 1 else [f"{when}: status {status}: {text[-800:]}"]
    return [*wrong, *_no_traceback(job, when, said), *job.half_made()]


def _no_traceback(job: Job, when: str, since: int) -> list[str]:
    text = job.said(1 << 30)[since:]
    shown = "Traceback (most recent" in text or "unexpected " in text
    return [f"{when}: {text[-1200:]}"] if shown else []


@contextmanager
def mounted(folder: Path, kibibytes: int) -> Iterator[Callable[[int], None]]:
    """A small disk in the place of a folder; what gives it another size."""
    kept = folder.with_name(f"{folder.name}.kept")
    folder.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={kibibytes}k", "none", str(folder))
    try:
        yield lambda size: _mount("-o", f"remount,size={size}k", str(folder))
    finally:
        shutil.copytree(folder, kept, symlinks=True)
        subprocess.run(["umount", "-l", str(folder)], check=True)
        shutil.rmtree(folder)
        kept.rename(folder)


@contextmanager
def bound(folder: Path, writable: bool) -> Iterator[None]:
    """A folder as it is, that cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    _mount("--bind", str(folder), str(folder))
    try:
        if not writable:
            _mount("-o", "remount,ro,bind", str(folder))
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Skipped(f"mount: {done.stderr.strip()}")


@contextmanager
def _mlflow(job: Job) -> Iterator[tuple[str, Callable[[float], None]]]:
    """An MLflow server on the job's own store; its address, and what takes it away for some seconds."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    store = job.folder / "mlflow-server"
    shutil.rmtree(store, ignore_errors=True)
    store.mkdir()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{store}/mlflow.db", "--artifacts-destination", str(store / "files")]
    address = f"http://127.0.0.1:{port}"
    with _restarted(job, command, "mlflow.log", f"{address}/health") as restart:
        yield address, restart


@contextmanager
def _prefect(job: Job) -> Iterator[Callable[[float], None]]:
    """Another Prefect server than the job's, on its port's neighbour; what takes it away for some seconds."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kept, job.api = job.api, f"http://127.0.0.1:{port}/api"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    try:
        with _restarted(
            job, command, "prefect.log", f"{job.api}/health", PREFECT_HOME=str(job.folder / "other")
        ) as restart:
            yield restart
    finally:
        job.api = kept


@contextmanager
def _restarted(
    job: Job, command: list[str], log: str, health: str, **variables: str
) -> Iterator[Callable[[float], None]]:
    processes: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        with (job.logs / log).open("ab") as output:
            processes.append(
                subprocess.Popen(
                    command, cwd=job.folder, env={**job.environment, **variables}, stdout=output, stderr=output,
                    start_new_session=True,
                )
            )  # fmt: skip
        operators.wait_for(lambda: httpx.get(health).is_success, 300, health, job.logs)

    def stop() -> None:
        os.killpg(processes[-1].pid, signal.SIGKILL)
        processes[-1].wait()

    def restart(seconds: float) -> None:
        stop()
        time.sleep(seconds)
        start()

    start()
    try:
        yield restart
    finally:
        stop()
