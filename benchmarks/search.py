"""How far the search is from what it could cost: (a) its step against a plain training step.

(b) the whole search against the published one.

    python benchmarks/search.py [--problem NAME] [--repeats 5] [--rounds 4] [--workers 2]

Works on the project's own source and problem, so `seam run` comes first. (a) The same network,
batch and precision, steps in turn. (b) Rounds of the search as published
(benchmarks/published_search.py) are measured and extrapolated to its 300; ours runs whole,
preparation and frontier included. Prints one JSON object with every repeat, so that the spread
shows.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from in_turn import in_turn
from plain_step import plain_step
from published_search import PublishedSearch, loaders

from seam.networks.head import SourceOnProblem
from seam.networks.predict import accuracy, predict
from seam.runtime import start
from seam.search.mask_search import MaskSearch
from seam.search.problem import SearchProblem
from tasks.inputs.problem import problem_images, problem_source
from tasks.project.params import load_params
from tasks.project.stage import StageContext
from tasks.project.stages import PROBLEM
from tasks.project.subject import Subject

PUBLISHED_ROUNDS = 300


def on_all(step: Callable[[Any, Any], None], batches: list[Any]) -> Callable[[], None]:
    """A step on every batch."""

    def work() -> None:
        for images, labels in batches:
            step(images, labels)

    return work


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problem", help="a target problem of params.yaml (default: the last)")
    parser.add_argument("--repeats", type=int, default=5, help="of (a)")
    parser.add_argument("--rounds", type=int, default=4, help="published rounds measured for (b)")
    parser.add_argument("--workers", type=int, default=2, help="of the published data loaders")
    arguments = parser.parse_args()
    root = Path.cwd()
    params = load_params(root / "params.yaml")
    problem_name = arguments.problem or list(params.problems)[-1]
    context = StageContext("search", params, root, Subject(PROBLEM.name, problem_name))
    source = problem_source(context)
    problem = context.target_problem(source.info.classes)
    train, val = problem_images(context, "train"), problem_images(context, "val")
    published = PublishedSearch(
        source.network,
        len(source.info.classes),
        problem.num_classes,
        loaders(train, val, source.info.mean, source.info.std, params.search.augment, arguments.workers),
    )
    published.round()
    rounds = []
    for _ in range(arguments.rounds):
        started = time.perf_counter()
        published.round()
        rounds.append(time.perf_counter() - started)

    runtime = start(params.runtime, source.info.pixels)
    preprocess = source.preprocess()
    original = SourceOnProblem(source.network, problem.target_indices, len(problem.source_classes))
    source_val = accuracy(predict(original, val, preprocess), val.labels)

    config = replace(params.search, structure="weights", cost="weights")  # as the published one

    def prepare() -> MaskSearch:
        network = problem_source(context).network
        searched = SearchProblem(network, preprocess, train, val, problem.num_classes, source_val)
        return MaskSearch(searched, config, runtime, params.seed)

    search = prepare()
    batches = list(search.loop.begin_round())
    plain = plain_step(problem_source(context).network, search.head_only, runtime, config)
    works = {"plain": on_all(plain, batches), "search": on_all(search.loop.step, batches)}
    steps = in_turn(works, arguments.repeats)
    step_ms = {f"{name}_step_ms": round(1000 * steps.median(name) / len(batches), 2) for name in works}
    started = time.perf_counter()
    result = prepare().run()
    whole = time.perf_counter() - started
    per_round = statistics.median(rounds)
    print(
        json.dumps(
            {
                "problem": problem_name,
                **{f"step_{name}": value for name, value in steps.ratio("search", "plain").items()},
                **step_ms,
                "published_round_s": [round(r, 2) for r in rounds],
                "published_search_s": round(PUBLISHED_ROUNDS * per_round, 1),
                "search_s": round(whole, 1),
                "search_ratio": round(PUBLISHED_ROUNDS * per_round / whole, 1),
                "density": result.best.density,
                "val_accuracy": result.best.val_accuracy,
                "rounds": len(result.rounds),
                "method": params.search.method,
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
