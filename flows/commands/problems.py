"""`seam problems`: the target problems in params.yaml, and adding many at once."""

from __future__ import annotations

from pathlib import Path

from seam.data.formats.load import class_names, fetch
from seam.data.problem_sets import SUPERCLASSES, every_class, superclass_problems, unused
from seam.data.problems import TargetProblem
from seam.errors import ConfigError, DataError
from tasks.project.advice import advising
from tasks.project.change_params import add_problems
from tasks.project.params import Params, load_params
from tasks.project.subject import StageRun


def list_problems(root: Path) -> list[str]:
    """One line for each problem in params.yaml: its name and classes."""
    problems = load_params(root / "params.yaml").problems
    width = max(map(len, problems))
    return [f"{name:<{width}}  {_described(classes)}" for name, classes in problems.items()]


@advising(StageRun("validate_data"))
def extend_problems(root: Path, each_class: bool, superclasses: str | None) -> str:
    """Add problems to params.yaml that are not there yet (whatever their name there).

    Args:
        root: the project.
        each_class: one binary problem for each class of the data set.
        superclasses: one problem for each of these; a key of `SUPERCLASSES`.

    Returns:
        One line: what was added, and what to do next.

    Raises:
        ConfigError: no such set of superclasses.
        DataError: the data set is not there, or has none of the superclasses' classes.
    """
    if superclasses is not None and superclasses not in SUPERCLASSES:
        raise ConfigError(f"--superclasses {superclasses}: expected one of: {', '.join(SUPERCLASSES)}.")
    params = load_params(root / "params.yaml")
    classes = _classes(root, params)
    wanted = list(every_class(classes).items()) if each_class else []
    if superclasses is not None:
        wanted += superclass_problems(SUPERCLASSES[superclasses], classes).items()
    problems = dict(params.problems)
    known = {frozenset(p) for p in problems.values()}
    for name, members in wanted:
        if frozenset(members) not in known:
            problems[unused(name, problems)] = members
    added = {name: members for name, members in problems.items() if name not in params.problems}
    if added:
        add_problems(root / "params.yaml", added)
    there = f" ({len(wanted) - len(added)} were there)" if len(wanted) > len(added) else ""
    return (
        f"params.yaml: {len(added)} problems added{there}, {len(problems)} in all;{_misfits(params, classes)} run them"
        " with `seam run --problem all`."
    )


def _classes(root: Path, params: Params) -> tuple[str, ...]:
    path = root / params.data.path
    fetch(params.data.kind, path)
    return class_names(params.data.kind, path)


def _described(classes: tuple[str, ...]) -> str:
    return f"{classes[0]} (against the rest)" if len(classes) == 1 and classes != ("all",) else ", ".join(classes)


def _misfits(params: Params, classes: tuple[str, ...]) -> str:
    """What to do about problems that were there before and do not fit the data."""
    wrong = [name for name, wanted in params.problems.items() if not _fits(name, wanted, classes)]
    return f" remove {', '.join(wrong)}, whose classes the data set does not have;" if wrong else ""


def _fits(name: str, wanted: tuple[str, ...], classes: tuple[str, ...]) -> bool:
    try:
        TargetProblem.of(name, wanted, classes)
    except DataError:
        return False
    return True
