"""What orchestration costs as problems grow: `seam run` and `seam status` over stand-in stages that take no time.

    python benchmarks/orchestration.py [--problems 1,5,20,50,100] [--json FILE]

For each number of problems a project of its own: a run that does everything, one that has nothing to
do, one that has nothing to do and reports to a Prefect server that is there (`watched`), and `seam
status`. CPU seconds are of the command with all it starts but that server (`server`: of Prefect's
temporary server therein), wall seconds stand beside them; `recording_s` is one stage run and recorded
in a warm process, `lock_kb` the largest lock of a problem.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from flows.temporary_server import answers  # noqa: E402
from seam.files import write_json  # noqa: E402
from tasks.project.params import load_params  # noqa: E402
from tasks.project.stages import PROBLEM  # noqa: E402
from tasks.project.subject import chosen, runs_of  # noqa: E402
from tests.defaults import write_params  # noqa: E402
from tests.stub_stages.sitecustomize import make_project  # noqa: E402

RECORD = """
import sys, time
from pathlib import Path
from flows.stage_cache import shared_cache
from tasks.project.subject import Subject, address_of
cache, out, search = shared_cache(Path.cwd()), Path(sys.argv[1]), address_of("search", Subject("problem", "p000"))
seconds = []
for number in range(4):
    start = time.process_time()
    cache.run(search, lambda: out.write_text(f"{number}, {time.time()}"))
    seconds.append(time.process_time() - start)
print(min(seconds[1:]))
"""
STUBS = ROOT / "tests" / "stub_stages"
_SUBREAPER = 36
"""prctl: what a command leaves behind becomes our child, and its CPU time ours to read."""


def environment_of(root: Path, url: str | None = None) -> dict[str, str]:
    """With the stand-in stages, and the Prefect server at `url`, or none."""
    dropped = ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "PREFECT_HOME", "PREFECT_PROFILE")
    environment = {k: v for k, v in os.environ.items() if k not in dropped}
    environment |= {
        "PYTHONPATH": f"{root}{os.pathsep}{STUBS}",
        "DVC_SITE_CACHE_DIR": str(root.parent / "site"),
        "COLUMNS": "160",
        "OMP_NUM_THREADS": "1",
    }
    return environment | ({"PREFECT_API_URL": url} if url else {})


def measured(root: Path, *arguments: str, url: str | None = None) -> dict[str, float]:
    """CPU and wall seconds of one `seam` command."""
    start = time.perf_counter()
    with (root / ".command.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *arguments],
            cwd=root,
            env=environment_of(root, url),
            stdout=log,
            stderr=log,
        )
        _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"seam {' '.join(arguments)} failed:\n{(root / '.command.log').read_text()[-3000:]}")
    left = 0.0 if url else _cpu_of_what_is_left()
    own = used.ru_utime + used.ru_stime
    return {"cpu_s": round(own + left, 2), "server_cpu_s": round(left, 2), "wall_s": round(wall, 2)}


def _cpu_of_what_is_left() -> float:
    """Of the processes that the command left, when they have ended."""
    total = 0.0
    while True:
        try:
            _, _, used = os.wait4(-1, 0)
        except ChildProcessError:
            return total
        total += used.ru_utime + used.ru_stime


def watched(root: Path) -> dict[str, float]:
    """A run that has nothing to do, on the page of a server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    with (root / ".server.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "flows.temporary_server", str(port)],
            cwd=root,
            env=environment_of(root),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
        )
    while not answers(url, timeout=2):
        time.sleep(0.2)
    before = psutil.Process(server.pid).cpu_times()
    found = measured(root, "run", url=url)
    after = psutil.Process(server.pid).cpu_times()
    server.communicate()
    return {**found, "server_cpu_s": round(after.user + after.system - before.user - before.system, 2)}


def recording(root: Path) -> float:
    """CPU seconds that one stage costs that does nothing, in a warm process."""
    command = [sys.executable, "-c", RECORD, "artifacts/p000/search/mask.safetensors"]
    done = subprocess.run(command, cwd=root, env=environment_of(root), capture_output=True, text=True, check=True)
    return round(float(done.stdout), 3)


def swept(root: Path) -> dict[str, float]:
    """A sweep of every problem on one worker of this machine, a point; less what starting all of it costs.

    That is a second sweep's, of one point.
    """
    if len(load_params(root / "params.yaml").problems) < 2:
        return {}
    seconds = {}
    for name, problems in (("all", ()), ("one", ("p000",))):
        shutil.rmtree(root / ".dvc" / "cache", ignore_errors=True)
        shutil.rmtree(root / ".seam", ignore_errors=True)
        (root / "mlflow" / "mlflow.db").unlink(missing_ok=True)  # of the runs before, with tables of the stand-ins
        seconds[name] = measured(root, "sweep", *problems, "--workers", "1", "--name", name)
    number = len(load_params(root / "params.yaml").problems) - 1
    return {key: round((seconds["all"][key] - seconds["one"][key]) / number, 2) for key in ("cpu_s", "wall_s")}


def row(number: int, folder: Path) -> dict[str, Any]:
    """One line of the table: this many problems."""
    root = make_project(folder / "project")
    write_params(root / "params.yaml", problems={f"p{i:03d}": [str(i % 10)] for i in range(number)})
    params = load_params(root / "params.yaml")
    stages = len(runs_of(params, PROBLEM, chosen(params, PROBLEM)))
    first, again, status = measured(root, "run"), measured(root, "run"), measured(root, "status")
    seen = watched(root)
    return {
        "problems": number,
        "stages": stages,
        "first_run": first,
        "second_run": again,
        "status": status,
        "watched_run": seen,
        "recording_s": recording(root),
        "sweep_a_point": swept(root),
        "lock_kb": round(max(p.stat().st_size for p in root.glob("problems/*/dvc.lock")) / 1000, 1),
    }


def shown(found: Sequence[Mapping[str, Any]]) -> str:
    """The curve as a table."""
    lines = ["| problems | first run, CPU s | again | of it server | wall | recording a stage | status, CPU s | wall |"]
    lines += ["|" + "---|" * 8]
    for one in found:
        first, again, status = one["first_run"], one["second_run"], one["status"]
        cells = (one["problems"], first["cpu_s"], again["cpu_s"], again["server_cpu_s"], again["wall_s"])
        lines.append(
            "| " + " | ".join(map(str, (*cells, one["recording_s"], status["cpu_s"], status["wall_s"]))) + " |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the table as it grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", default="1,5,20,50,100", metavar="N,N", help="numbers of problems")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there too")
    arguments = parser.parse_args()
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    found = []
    for number in map(int, arguments.problems.split(",")):
        folder = Path(tempfile.mkdtemp())
        found.append(row(number, folder))
        shutil.rmtree(folder)
        print(json.dumps(found[-1]), flush=True)
    print(shown(found))
    if arguments.json:
        write_json(arguments.json, {"load_average": os.getloadavg(), "cores": os.cpu_count(), "rows": found})


if __name__ == "__main__":
    main()
