"""The rounds of several problems' searches at once, ahead of their stages `search`, which then only finish them.

    python -m tasks.inputs.search_together [--problems A,B]     # before `dvc repro`; `seam run` does it by itself

Needs the stages split_dataset and prepare_source. No stage of its own: what it leaves is each
search's checkpoint.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from seam.errors import SeamError, SearchError
from seam.files import read_json
from seam.search.mask_search import MaskSearch
from seam.search.result import Round
from seam.search.together import how_many_fit, search_rounds_together
from tasks.inputs.one_gpu import one_gpu
from tasks.inputs.problem import problem_source
from tasks.project.advice import advising
from tasks.project.params import load_params
from tasks.project.stage import StageContext, log_to_terminal
from tasks.project.stages import PROBLEM
from tasks.project.subject import StageRun, chosen
from tasks.search import checkpoint_of, prepare

logger = logging.getLogger(__name__)


@advising(StageRun("search"))
def search_together(
    contexts: Sequence[StageContext], on_round: Callable[[str, Round], None] = lambda name, found: None
) -> list[tuple[str, ...]]:
    """Carry the searches of these problems to the end of their rounds, in groups that fit into memory.

    The problems of a group have as many training images each.

    Args:
        contexts: of the stage `search`, one for each problem.
        on_round: called with the problem's name after each of its rounds.

    Returns:
        The groups. A problem that has no other to go with is left to its stage, and so is every
        problem where `runtime.searches_together` says so, or where two searches follow one another
        (`search.structure` hybrid), and one pass is no search.
    """
    contexts = [c for c in contexts if c.params.search.structure != "hybrid" and c.params.search.method != "one_pass"]
    if not contexts:
        return []
    with one_gpu(contexts[0].params.runtime, contexts[0].progress):
        return _in_groups(contexts, on_round)


def _in_groups(contexts: Sequence[StageContext], on_round: Callable[[str, Round], None]) -> list[tuple[str, ...]]:
    """Those that are alike together, as many at once as fit."""
    done: list[tuple[str, ...]] = []
    for waiting in _alike(contexts):
        while len(waiting) > 1:
            first = _prepared(waiting[0])
            most = _limit(waiting[0], first)
            if most < 2:
                break
            group = waiting[:most]
            del waiting[:most]
            searches = {group[0].name: first, **{c.name: _prepared(c) for c in group[1:]}}
            logger.info("searching together: %s", ", ".join(searches))
            try:
                search_rounds_together(searches, {c.name: checkpoint_of(c) for c in group}, on_round)
            except torch.OutOfMemoryError as e:
                raise SearchError(
                    f"{len(group)} searches together do not fit into the GPU's memory; set runtime.searches_together"
                    " below that."
                ) from e
            done.append(tuple(searches))
    return done


def _alike(contexts: Sequence[StageContext]) -> list[list[StageContext]]:
    """The problems by their number of training images."""
    groups: dict[int, list[StageContext]] = {}
    for context in contexts:
        groups.setdefault(read_json(context.artifact("split_dataset", "summary.json"))["num_train"], []).append(context)
    return list(groups.values())


def _prepared(context: StageContext) -> MaskSearch:
    return prepare(context, problem_source(context))


def _limit(context: StageContext, search: MaskSearch) -> int:
    """How many searches to carry along at once, where all are as large as this one."""
    asked = context.params.runtime.searches_together
    if asked == 0 and search.loop.runtime.device.type == "cpu":
        return 1  # a CPU is busy with one
    fit = how_many_fit(search)
    return min(asked, fit) if asked else fit


def main() -> None:
    """Command line; exits non-zero on failure, with one line."""
    parser = argparse.ArgumentParser(
        prog="python -m tasks.inputs.search_together",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--params", type=Path, default=Path("params.yaml"), metavar="FILE", help="parameters (default: params.yaml)"
    )
    parser.add_argument("--problems", metavar="A,B", help="names under `problems` in the parameters (default: all)")
    arguments = parser.parse_args()
    log_to_terminal()
    try:
        params = load_params(arguments.params)
        problems = chosen(params, PROBLEM, arguments.problems.split(",") if arguments.problems else ())
        groups = search_together([StageContext("search", params, Path.cwd(), problem) for problem in problems])
    except SeamError as e:
        sys.exit(f"error: {e}")
    logger.info(
        "%d of %d problems searched together; `dvc repro` or `seam run` finishes them",
        sum(map(len, groups)),
        len(problems),
    )


if __name__ == "__main__":
    main()
