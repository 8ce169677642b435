"""What a sweep costs a problem over its work, with everything that a team has between its machines.

    python benchmarks/sweep_cost.py [--problems 13]

PostgreSQL, an S3 server, MLflow and Prefect as `make servers` starts them, a scheduler, one worker in
a clone of its own; stand-in stages that take no time. A sweep of one problem is taken off: what
starting all of it costs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from flows.servers import supervision  # noqa: E402
from flows.servers.settings import Settings, settled  # noqa: E402
from tests.defaults import write_params  # noqa: E402
from tests.drill.town import Town, wipe  # noqa: E402
from tests.stub_stages.sitecustomize import make_project  # noqa: E402

STUBS = ROOT / "tests" / "stub_stages"
_FIRST_PORT = 27400
_WARM_SECONDS = 15.0


class StubTown(Town):
    """One whose stages take no time."""

    def build(self) -> None:
        """A project without its real stages."""
        make_project(self.lead)
        write_params(self.lead / "params.yaml", problems=self.problems)
        self.call(self.lead, sys.executable, "-m", "dvc", "add", "-q", "data")
        git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@example.invalid"]
        for command in (["add", "-A"], ["commit", "-qm", "project"]):
            subprocess.run([*git, *command], cwd=self.lead, check=True)

    def environment(self, root: Path) -> dict[str, str]:
        """With the stand-ins first."""
        own = {"PYTHONPATH": f"{root}{os.pathsep}{STUBS}", "DVC_SITE_CACHE_DIR": str(self.folder / "site")}
        return super().environment(root) | own


def cpu_of(pid: int) -> float:
    """Seconds of a process and of those that it started."""
    process = psutil.Process(pid)
    return sum(t.user + t.system for t in (p.cpu_times() for p in [process, *process.children(recursive=True)]))


def swept(folder: Path, number: int) -> dict[str, float]:
    """One sweep of this many problems: seconds on the clock, and on the cores of worker and leader."""
    servers: Settings = settled(folder / "servers", _FIRST_PORT + 10 * number)
    town = StubTown(folder, {f"p{i:03d}": [str(i % 10)] for i in range(number)}, 1)
    try:
        town.build()
        supervision.start(servers)
        town.connect(servers)
        town.start_scheduler()
        town.start_worker(0)
        time.sleep(_WARM_SECONDS)
        worker = town.processes["worker-0"].pid
        start, before, led = time.perf_counter(), cpu_of(worker), os.times()
        town.begin_sweep()
        status, said = town.end_sweep()
        if status:
            sys.exit(f"the sweep failed:\n{said[-3000:]}")
        wall, after = time.perf_counter() - start, os.times()
        leader = after.children_user + after.children_system - led.children_user - led.children_system
        return {"wall_s": wall, "worker_cpu_s": cpu_of(worker) - before, "leader_cpu_s": leader}
    finally:
        town.stop()
        supervision.stop(servers)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=13, help="of the larger sweep")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as scratch:
        Path(scratch).chmod(0o711)  # PostgreSQL runs as a user of its own where we are root
        one, many = (swept(wipe(Path(scratch) / str(n)), n) for n in (1, arguments.problems))
    for name in one:
        each = (many[name] - one[name]) / (arguments.problems - 1)
        print(f"{name:13s} {one[name]:.1f} of one problem, {many[name]:.1f} of {arguments.problems}: {each:.2f} each")


if __name__ == "__main__":
    main()
