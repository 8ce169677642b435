"""Ctrl-C (or SIGTERM) in every stage of the default job, at moments drawn by chance, each time in a real process.

    make interrupts ARGS="--signal TERM --seed 1"

A clone of the project computes everything, and is stopped in each stage in turn, as a terminal does it:
the signal goes to all processes of the command. Each time it must end within 3 s with one line, status
130 (143), no traceback and no crash, and leave no process; the next run goes on from there, and in the end
there are results. Then it is stopped while it starts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
LIMIT_SECONDS = 3.0
LINE = "interrupted; run again to continue\n"
_CRASHES = (
    "Traceback",
    "Segmentation",
    "Fatal Python",
    "core dumped",
    "terminate called",
    "Aborted",
    "Exception ignored",
)
_DONE = "done"


@dataclass(frozen=True)
class Stop:
    """How a command ended that was told to."""

    where: str
    seconds: float
    status: int
    err: str
    out: str
    left: tuple[str, ...]

    @property
    def too_early(self) -> bool:
        """Python itself had not started yet: nothing of ours had been asked."""
        return "KeyboardInterrupt" in self.err and not any(name in self.err for name in ("/flows/", "/tasks/"))

    def faults(self, number: signal.Signals) -> list[str]:
        found = [word for word in _CRASHES if word in self.err + self.out]
        if self.seconds > LIMIT_SECONDS:
            found.append(f"{self.seconds:.1f} s")
        if self.status != 128 + number:
            found.append(f"status {self.status}")
        if self.err != LINE:
            found.append(f"said {self.err[-600:]!r}")
        return [*found, *(f"left {name}" for name in self.left)]


def environment(project: Path) -> dict[str, str]:
    dropped = ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "PREFECT_HOME", "PREFECT_PROFILE", "TQDM_DISABLE")
    kept = {k: v for k, v in os.environ.items() if k not in dropped}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**kept, "PYTHONPATH": str(project), "PATH": path, "SEAM_LOCKS": str(project.parent / "locks")}


def cloned(folder: Path) -> Path:
    """The project as it is committed, with its data and without results."""
    project = folder / "project"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(project)], check=True)
    command = [sys.executable, "-m", "dvc", "pull", "-q", "data.dvc"]
    subprocess.run(command, cwd=project, env=environment(project), check=True)
    return project


def begun(project: Path, *arguments: str) -> subprocess.Popen[str]:
    """A command of `seam` in a session of its own, its words kept in files."""
    words = [project.parent / name for name in ("out.txt", "err.txt")]
    with words[0].open("w") as out, words[1].open("w") as err:
        command = [sys.executable, "-m", "flows.start", *arguments]
        return subprocess.Popen(
            command, cwd=project, env=environment(project), stdout=out, stderr=err, text=True, start_new_session=True
        )


def stage_of(project: Path) -> str | None:
    """The stage that runs now: that whose outputs DVC has reserved for it."""
    try:
        held = json.loads((project / ".dvc/tmp/rwlock").read_bytes())["write"]
    except (OSError, ValueError, KeyError):
        return None
    paths = [Path(p).relative_to(project / "artifacts") for p, by in held.items() if psutil.pid_exists(by["pid"])]
    folders = {str(path.parent) for path in paths if path.parent.parts[:1] != ("digest_code",)}
    return min(folders) if folders else None


def stopped(project: Path, process: subprocess.Popen[str], number: signal.Signals, where: str) -> Stop:
    """Send the signal to all processes of a command, as a terminal does, and see how it ends."""
    children: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True)
    begin = time.monotonic()
    if process.poll() is None:
        os.killpg(process.pid, number)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    seconds = time.monotonic() - begin
    _, alive = psutil.wait_procs(children, timeout=10)
    left = tuple(" ".join(child.cmdline()[:4]) for child in alive if child.is_running())
    out, err = ((project.parent / name).read_text() for name in ("out.txt", "err.txt"))
    return Stop(where, seconds, process.returncode, err, out, left)


def stop_in_a_new_stage(project: Path, number: signal.Signals, known: set[str], longest: float) -> Stop:
    """Run until a stage begins that was not stopped in yet, and somewhat on; to the end where there is none."""
    process = begun(project, "run", "--everything")
    while process.poll() is None:
        where = stage_of(project)
        if where and where not in known:
            until = time.monotonic() + longest * random.random() ** 2  # often soon, sometimes late
            while time.monotonic() < until and stage_of(project) == where:
                time.sleep(0.02)
            return stopped(project, process, number, stage_of(project) or where)
        time.sleep(0.02)
    return stopped(project, process, number, _DONE)


def stop_while_it_starts(project: Path, number: signal.Signals, moment: float) -> Stop:
    """At some moment of a run in which everything is stale."""
    process = begun(project, "run", "--set", f"seed={int(moment * 1000)}")
    time.sleep(moment)
    return stopped(project, process, number, f"{moment:.2f} s after the start")


def say(stop: Stop, faults: list[str]) -> int:
    """Print how it went; 1 if not well."""
    mark = "early" if stop.too_early else "FAULT" if faults else "ok"
    print(f"{mark:6}{stop.seconds:5.1f} s  {stop.where}  {'; '.join(faults)}", flush=True)
    return int(bool(faults) and not stop.too_early)


def stop_in_every_stage(project: Path, number: signal.Signals, longest: float) -> tuple[int, int]:
    """Stop, go on, stop, go on, to the end; how many stops did not go well, and in how many stages it was."""
    known: set[str] = set()
    bad = 0
    while True:
        stop = stop_in_a_new_stage(project, number, known, longest)
        if stop.where == _DONE:
            return bad + say(stop, [] if stop.status == 0 else [f"status {stop.status}", stop.err]), len(known)
        known.add(stop.where)
        bad += say(stop, stop.faults(number))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--signal", choices=("INT", "TERM"), default="INT")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--longest", type=float, default=6.0, help="seconds into a stage")
    parser.add_argument("--starts", type=int, default=12, help="stops while it starts")
    arguments = parser.parse_args()
    number = signal.Signals[f"SIG{arguments.signal}"]
    random.seed(arguments.seed)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has what it starts with & ignore it
    with tempfile.TemporaryDirectory() as name:
        project = cloned(Path(name).resolve())
        bad, stages = stop_in_every_stage(project, number, arguments.longest)
        for _ in range(arguments.starts):
            stop = stop_while_it_starts(project, number, round(random.uniform(0.1, 6), 2))
            bad += say(stop, stop.faults(number))
    print(f"{bad} faults, {stages} stages")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
