"""How a sweep of real small problems speeds up with workers, and how soon the work of one that is killed goes on.

    python benchmarks/workers.py [--problems 6] [--workers 1,2,3] [--json FILE]

Each number of workers has a project of its own, with no result and no cache: the source is trained,
then every problem goes through all its stages. Where there are more workers than pairs of cores the
figure is what a worker costs, not what it brings. At the end one of two workers is killed with -9
while it searches: `moved_s` is the time until that search begins again, on any worker.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from seam.files import write_json  # noqa: E402
from tests.defaults import write_params  # noqa: E402
from tests.drill.town import SEAM, SMALLER, wait_until  # noqa: E402
from tests.flows.small_project import environment, make_small_project  # noqa: E402

_WAIT_SECONDS = 600


def project_of(folder: Path, problems: int) -> Path:
    """A project of its own, with data, and nothing computed."""
    project: Path = make_small_project(folder)
    write_params(project / "params.yaml", **{**SMALLER, "problems": {f"digit-{i}": [str(i)] for i in range(problems)}})
    return project


def begun(project: Path, workers: int) -> subprocess.Popen[str]:
    """A sweep of every problem."""
    command = [*SEAM, "sweep", "--workers", str(workers), "--name", "all"]
    variables = {**environment(), "PYTHONPATH": str(project), "COLUMNS": "160"}
    with (project / ".sweep.log").open("w") as log:
        return subprocess.Popen(command, cwd=project, env=variables, stdout=log, stderr=log, text=True)


def end(process: subprocess.Popen[str], project: Path) -> None:
    """Wait for a sweep that has to end well."""
    if process.wait(_WAIT_SECONDS * 3):
        sys.exit(f"the sweep failed:\n{(project / '.sweep.log').read_text()[-3000:]}")


def seconds(project: Path, workers: int) -> dict[str, Any]:
    """Of a whole sweep: on the clock, and on the cores."""
    start, before = time.perf_counter(), os.times()
    end(begun(project, workers), project)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return {"workers": workers, "wall_s": round(time.perf_counter() - start, 1), "cpu_s": round(used, 1)}


def beginnings(project: Path) -> list[tuple[str, str]]:
    """Each search that began, with its worker's folder, as the workers' logs have them."""
    found = []
    for log in sorted(project.glob(".seam/workers/*/.seam/seam.log")):
        found += [(name, str(log.parents[1])) for name in re.findall(r"search \[(.+?)\]: begins", log.read_text())]
    return found


def moved(project: Path) -> float:
    """Seconds from a worker's death until the search that it was at begins again."""
    process = begun(project, 2)
    wait_until(lambda: beginnings(project), _WAIT_SECONDS, "a first search")
    name, folder = beginnings(project)[-1]
    for one in psutil.process_iter(["environ"]):
        if (one.info["environ"] or {}).get("SEAM_WORKER_FOLDER") == folder:
            one.kill()
    start = time.perf_counter()
    wait_until(lambda: sum(n == name for n, _ in beginnings(project)) > 1, _WAIT_SECONDS, "the same search again")
    lasted = time.perf_counter() - start
    end(process, project)
    return round(lasted, 2)


def main() -> None:
    """Print the figures as they come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=6, help="of one class each")
    parser.add_argument("--workers", default="1,2,3", metavar="N,N", help="numbers of workers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there too")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for workers in map(int, filter(None, arguments.workers.split(","))):
            rows.append(seconds(project_of(Path(scratch) / f"of-{workers}", arguments.problems), workers))
            print(rows[-1], flush=True)
        killed = moved(project_of(Path(scratch) / "killed", arguments.problems))
    print(f"a search whose worker was killed began again after {killed} s")
    if arguments.json:
        found = {"load_average": os.getloadavg(), "cores": os.cpu_count(), "rows": rows, "moved_s": killed}
        write_json(arguments.json, found)


if __name__ == "__main__":
    main()
