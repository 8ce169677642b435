"""What is to be done for the points of a sweep: a job each, and what it waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from flows.sweeps.plan import Point, Setting, params_under
from flows.sweeps.records import digest
from flows.sweeps.work import Job, code_digests
from seam.files import sha256_file
from tasks.project.data_guard import digest_of_data
from tasks.project.environment import tracking_uri
from tasks.project.params import Params, flat, parse_params, round_trip
from tasks.project.stages import KINDS
from tasks.project.subject import StageRun, runs_of


@dataclass(frozen=True)
class Errand:
    """A job, and what is known of it where the sweep is led."""

    job: Job
    setting: Setting
    basis: str
    """A digest of all that decides its result."""
    point: Point | None
    """None: the stages of the project under a setting."""
    waits_for: str | None
    """Key of the errand that does those."""


def errands_of(root: Path, points: Sequence[Point], travels: bool) -> list[Errand]:
    """For each setting the stages of the project, then its points.

    Settings under which the stages of the project have the same parameters have one errand for them.

    Args:
        root: the project.
        points: of the sweep.
        travels: whether results go through DVC's remote.
    """
    code, made = code_digests(root), dict[str, Errand]()
    found: list[Errand] = []
    by_setting: dict[Setting, list[Point]] = {}
    for point in points:
        by_setting.setdefault(point.setting, []).append(point)
    for setting, its_points in by_setting.items():
        text = params_under(root / "params.yaml", setting)
        params = parse_params(round_trip().load(text), "params.yaml")
        values = params.model_dump(mode="json")
        bases: dict[tuple[StageRun, ...], str] = {}
        for point in its_points:
            runs = tuple(runs_of(params, point.subject.row, [point.subject]))
            shared, waits_for = tuple(run for run in runs if run.subject is None), None
            if shared:
                if shared not in bases:
                    bases[shared] = digest(
                        _values_of(root, values, shared), _of(code, shared), _data(root, params.data.path)
                    )
                basis = bases[shared]
                if basis not in made:
                    key = f"source {setting.label}".rstrip()
                    job = Job(key, text, None, shared, _of(code, shared), tracking_uri(root), travels)
                    made[basis] = Errand(job, setting, basis, None, None)
                    found.append(made[basis])
                waits_for = made[basis].job.key
            basis = digest(_without_others(values, point), _of(code, runs), _data_of(root, params, point))
            job = Job(point.key, text, point.subject, runs, _of(code, runs), tracking_uri(root), travels)
            found.append(Errand(job, setting, basis, point, waits_for))
    return found


def _of(code: Mapping[str, str], runs: Sequence[StageRun]) -> dict[str, str]:
    """The digests of these stages' code."""
    return {run.stage: code[run.stage] for run in runs}


def _values_of(root: Path, values: Mapping[str, Any], runs: Sequence[StageRun]) -> dict[str, Any]:
    """The parameters that stages of the project depend on, as dvc.yaml has them."""
    stages = YAML(typ="safe").load((root / "dvc.yaml").read_text())["stages"]
    names = [name for run in runs for name in stages[run.stage].get("params", []) if isinstance(name, str)]
    return {
        key: value for key, value in flat(values).items() if any(f"{key}.".startswith(f"{name}.") for name in names)
    }


def _without_others(values: Mapping[str, Any], point: Point) -> Mapping[str, Any]:
    """The parameters; of subjects only the point's, and those of the kind that it is made of."""
    kind = point.subject.row
    own = values[kind.section][point.subject.name]
    counted = {KINDS[kind.made_of].section} if kind.made_of else set()
    others = {other.section for other in KINDS.values()} - counted
    return {**{name: value for name, value in values.items() if name not in others}, point.subject.name: own}


def _data_of(root: Path, params: Params, point: Point) -> str:
    _, own = point.subject.data(params)
    return " ".join(_data(root, path) for path in dict.fromkeys((params.data.path, own.path)))


@lru_cache(maxsize=64)
def _data(root: Path, path: str) -> str:
    """What data.dvc says of data that DVC tracks; the digest of other data, read once."""
    tracked = root / "data.dvc"
    if Path(path).parts[:1] == ("data",) and tracked.is_file():
        return sha256_file(tracked)
    return digest_of_data(root / path) if (root / path).exists() else ""
