"""A round of K problems' searches together against the same rounds one by one.

    python benchmarks/search_together.py [--problems A,B] [--repeats 3]

Works on the project's own source and problems (with as many training images each), after the stages
prepare_source and split_dataset. Rounds are timed in turn, evaluation included. Prints one JSON
object with every repeat, so that the spread shows, and the memory each search was estimated to
need.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path

import torch

from seam.search.together import bytes_needed, how_many_fit, joint_round
from tasks.inputs.problem import problem_source
from tasks.project.params import load_params
from tasks.project.stage import StageContext
from tasks.project.stages import PROBLEM
from tasks.project.subject import Subject
from tasks.search import prepare


def seconds_since(started: float) -> float:
    """Of wall time, work on a GPU included."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", help="names in params.yaml, with commas between (default: all)")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    root = Path.cwd()
    params = load_params(root / "params.yaml")
    names = arguments.problems.split(",") if arguments.problems else list(params.problems)
    contexts = [StageContext("search", params, root, Subject(PROBLEM.name, name)) for name in names]
    alone, together = ([prepare(c, problem_source(c)) for c in contexts] for _ in range(2))
    times: dict[str, list[float]] = {"together": [], "one_by_one": []}
    for repeat in range(arguments.repeats + 1):
        started = time.perf_counter()
        joint_round(together)
        joint = seconds_since(started)
        started = time.perf_counter()
        for search in alone:
            search.loop.next_round()
        if repeat:  # the first round ranks the weights and warms up
            times["together"].append(joint)
            times["one_by_one"].append(seconds_since(started))
    search, runtime = alone[0], alone[0].loop.runtime
    ratios = [t / o for t, o in zip(times["together"], times["one_by_one"], strict=True)]
    print(
        json.dumps(
            {
                "problems": len(names),
                "ratio": round(statistics.median(ratios), 3),
                "ratios": [round(r, 3) for r in ratios],
                "round_s": {name: [round(t, 2) for t in some] for name, some in times.items()},
                "mib_needed_each": round(bytes_needed(search) / 2**20),
                "fit_into_memory": how_many_fit(search),
                "device": str(runtime.device),
                "precision": runtime.precision,
                "threads": runtime.threads,
                "load_average": [round(x, 1) for x in os.getloadavg()],
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
