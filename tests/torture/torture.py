"""A small real job that is ended at hundreds of random moments, and put in bad weather: nothing of it shows afterwards.

    make torture                                   # 100 moments, then the weather
    make torture ARGS="--moments 500 --folder F"   # begun again with the same folder it goes on
    make torture ARGS="--moments 0 --weather 'disk full'"

kill -9 (a run alone, or with all that it began) and SIGTERM in every stage in turn. Weather: a disk that
is full, folders that cannot be written, files that may not grow, servers that go away and come back, a
clock that jumps, times of files in past and future; what this machine does not permit is skipped, and
said. Afterwards masks, weights and metrics are those of a run that nobody disturbed, bit for bit; nothing
is half-made, no process and no run in MLflow or Prefect is left, and one version is registered.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import tasks  # noqa: E402, F401  switches telemetry off
from tests.torture.job import Job  # noqa: E402
from tests.torture.moments import Chain, table, undisturbed  # noqa: E402
from tests.torture.weather import WEATHER, Skipped  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="for everything; default: a new one, removed at the end")
    parser.add_argument("--weather", choices=[*WEATHER, "none"], action="append", help="this alone; default: all of it")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        job = Job(asked.folder or Path(temporary))
        with job.ready():
            wrong = _moments(job, asked.moments, asked.seed) if asked.moments else 0
            wrong += _weather(job, asked.weather or list(WEATHER), asked.seed)
    sys.exit(wrong > 0)


def _moments(job: Job, count: int, seed: int) -> int:
    began, chain = time.monotonic(), Chain(job, seed)
    print(f"{len(chain.done)} of {count} moments are known; {len(job.stages)} stages", flush=True)
    before = len(chain.done)
    for moment in chain.suffer(count):
        seconds = time.monotonic() - began
        left = seconds / (len(chain.done) - before) * (count - len(chain.done))
        line = f"{len(chain.done)}/{count} {moment.how}, {moment.stage}, {moment.after:.2f} s"
        print(f"{line}{f': {moment.wrong}' if moment.wrong else ''}; {left / 60:.0f} min left", flush=True)
    chain.end()
    print(
        table(chain.done, job.stages), f"{time.monotonic() - began:.0f} s, {chain.ended} chains", sep="\n", flush=True
    )
    return sum(bool(moment.wrong) for moment in chain.done)


def _weather(job: Job, names: list[str], seed: int) -> int:
    right, wrong = undisturbed(job), 0
    for name in names:
        if name == "none":
            continue
        began = time.monotonic()
        job.fresh()
        try:
            faults = WEATHER[name](job, right, seed)
            said = "; ".join(faults) or "nothing shows"
            wrong += bool(faults)
        except Skipped as e:
            said = f"skipped: {e}"
        print(f"{name}: {said} ({time.monotonic() - began:.0f} s)", flush=True)
    return wrong


if __name__ == "__main__":
    main()
