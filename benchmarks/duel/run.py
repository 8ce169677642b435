"""The duel: structured re-engineering and the strongest rivals, at the same measured time.

    make duel ARGS="--data FOLDER"                      two blind problems, seed 0: about an hour on two cores
    make duel ARGS="--data FOLDER --pilots"             the two problems that settings were chosen on
    make duel ARGS="--data FOLDER --whole"              everything, two seeds; in pieces, it goes on where it was killed
    make duel ARGS="--data FOLDER --problems cifar10-cat --arms uniform,whole --budgets ms30 --seeds 0,1"
    make duel ARGS="--render"                           docs/duel.md from the cards there are

One training is one job; its card and its network lie in build/duel/jobs and are not made again. Cards of whole
problems go to benchmarks/results/duel/, docs/duel.md is rendered from them.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before torch: every job is one thread, and so are its timings
sys.path[0:1] = [str(Path(__file__).resolve().parents[1])]

from projects import ROOT, one_line_errors  # noqa: E402

from duel.arms import ARMS, MAIN  # noqa: E402
from duel.data import EXPECTED, require  # noqa: E402
from duel.jobs import DEVICE, jobs_of  # noqa: E402
from duel.judge import judge  # noqa: E402
from duel.page import render  # noqa: E402
from duel.pool import run_all  # noqa: E402
from duel.problems import DEFAULT, PROBLEMS  # noqa: E402
from duel.train import MAIN_RATES, RATES  # noqa: E402
from seam.configs.runtime import RuntimeConfig  # noqa: E402
from seam.errors import ConfigError, DataError  # noqa: E402
from seam.runtime import start  # noqa: E402


def main() -> None:
    """Run what was asked for; exits with one line on bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "duel", metavar="FOLDER", help=EXPECTED)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--problems", metavar="A,B", help=", ".join(PROBLEMS))
    chosen.add_argument("--pilots", action="store_true", help="the problems that settings were chosen on")
    chosen.add_argument("--whole", action="store_true", help="all problems, arms, budgets, seeds 0 and 1")
    parser.add_argument("--arms", metavar="A,B", help=", ".join(ARMS))
    parser.add_argument(
        "--budgets", metavar="ms30,macs30", help="milliseconds or multiply-adds, percent of the original's"
    )
    parser.add_argument("--seeds", metavar="0,1")
    parser.add_argument("--rates", metavar="0.015,0.05", help="peak rates that each arm's best is chosen from")
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each (default: 2)")
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="that is trained on; milliseconds are the CPU's, always",
    )
    parser.add_argument("--render", action="store_true", help="only render the cards there are")
    arguments = parser.parse_args()
    with one_line_errors():
        if not arguments.render:
            _run(arguments)
        render()


def _run(arguments: argparse.Namespace) -> None:
    whole, os.environ[DEVICE] = arguments.whole, arguments.device
    start(RuntimeConfig(device=arguments.device, threads=1), pixels=0)  # refuses a device that is not there
    if not arguments.data.is_dir():
        raise DataError(f"{arguments.data}: expected a folder with {EXPECTED}, got none; give --data FOLDER")
    pilots = [n for n, p in PROBLEMS.items() if p.pilot]
    names = list(PROBLEMS) if whole else pilots if arguments.pilots else list(DEFAULT)
    problems = _listed(arguments.problems, names, list(PROBLEMS), "--problems")
    arms = _listed(arguments.arms, list(ARMS) if whole else MAIN, list(ARMS), "--arms")
    seeds = [int(s) for s in (arguments.seeds or ("0,1" if whole else "0")).split(",")]
    require(arguments.data, [PROBLEMS[name] for name in problems])
    rates = [float(r) for r in arguments.rates.split(",")] if arguments.rates else RATES if whole else MAIN_RATES
    for problem in problems:
        asked = arguments.budgets or ("ms40,ms60,density5" if whole else DEFAULT.get(problem, "ms40"))
        run_all(jobs_of([problem], seeds, asked.split(","), arms, rates), arguments.data, arguments.workers)
        for seed in seeds:
            for budget in asked.split(","):
                judge(problem, seed, budget, arguments.data, sys.argv[1:])


def _listed(asked: str | None, default: list[str] | tuple[str, ...], known: list[str], option: str) -> list[str]:
    names = list(default) if asked is None else asked.split(",")
    for name in names:
        if name not in known:
            raise ConfigError(f"{option} {name}: expected some of {', '.join(known)}.")
    return names


if __name__ == "__main__":
    main()
