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
from pathlib import Path

from in_turn import in_turn

from seam.search.together import Together, bytes_needed, how_many_fit
from tasks.inputs.problem import problem_source
from tasks.project.params import load_params
from tasks.project.stage import StageContext
from tasks.project.stages import PROBLEM
from tasks.project.subject import Subject
from tasks.search import prepare


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

    def one_by_one() -> None:
        for search in alone:
            search.loop.next_round()

    # the first round ranks the weights and warms up
    found = in_turn({"together": Together(together).next_round, "one_by_one": one_by_one}, arguments.repeats)
    search, runtime = alone[0], alone[0].loop.runtime
    print(
        json.dumps(
            {
                "problems": len(names),
                **found.ratio("together", "one_by_one"),
                "round_s": {name: [round(t, 2) for t in some] for name, some in found.seconds.items()},
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
