"""What orchestration adds: `seam run` against the same stage bodies called in a row in one warm process.

    python benchmarks/overhead.py [--params FILE]

Both run in fresh copies of this project, one after the other. The floor has every library imported
beforehand and leaves out register_model, which is MLflow's work; so the difference is what Prefect,
DVC, MLflow and imports cost together. Also times a second `seam run`, which has nothing to do.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
FLOOR = """
import importlib, json, sys, time
from pathlib import Path
from tasks.project.params import load_params
from tasks.project.stage import StageContext
from tasks.project.stages import PROBLEM
from tasks.project.subject import chosen, runs_of
import contextlib
import tasks.search
tasks.search.SearchLogger = lambda context: contextlib.nullcontext(lambda row: None)
params, root = load_params(Path("params.yaml")), Path.cwd()
runs = [run for run in runs_of(params, PROBLEM, chosen(params, PROBLEM)) if run.stage != PROBLEM.registers]
bodies = {run.stage: getattr(importlib.import_module(f"tasks.{run.stage}"), run.stage) for run in runs}
seconds = {}
for run in runs:
    start = time.perf_counter()
    bodies[run.stage](StageContext(run.stage, params, root, run.subject))
    seconds[f"{run.stage} {run.subject or ''}".strip()] = round(time.perf_counter() - start, 2)
print(json.dumps(seconds))
"""


def copy_project(folder: Path, params: Path | None) -> None:
    """The project's files and data, without results, as a git repository of its own."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    if params is not None:
        shutil.copy2(params, folder / "params.yaml")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run([BIN / "dvc", "pull", "-q", "data.dvc"], cwd=folder, check=True)


def timed(command: list[str], folder: Path) -> tuple[float, str]:
    """Wall seconds and output of a command that must succeed."""
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(folder), "TQDM_DISABLE": "1"}
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command} failed:\n{done.stdout}\n{done.stderr}")
    return time.perf_counter() - start, done.stdout


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, help="another parameter file (default: the project's)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as a, tempfile.TemporaryDirectory() as b:
        copy_project(Path(a), arguments.params)
        copy_project(Path(b), arguments.params)
        _, printed = timed([str(BIN / "python"), "-c", FLOOR], Path(a))
        bodies = json.loads(printed.strip().splitlines()[-1])
        run, _ = timed([str(BIN / "seam"), "run"], Path(b))
        again, _ = timed([str(BIN / "seam"), "run"], Path(b))
    floor = sum(bodies.values())
    result = {
        "seam_run_s": round(run, 1),
        "stage_bodies_s": round(floor, 1),
        "orchestration_s": round(run - floor, 1),
        "ratio": round(run / floor, 2),
        "second_run_s": round(again, 1),
        "cores": os.cpu_count(),
        "load_average": [round(x, 1) for x in os.getloadavg()],
        "python": platform.python_version(),
        "bodies": bodies,
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
