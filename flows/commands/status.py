"""`seam status`: what is up to date, what is not and why, what is registered, where the reports are."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.registry_view import RegisteredModel, registered_model
from flows.stage_cache import StageCache, shared_cache
from tasks.project.environment import tracking_uri
from tasks.project.params import Params, load_params
from tasks.project.stages import KINDS, PROBLEM
from tasks.project.subject import StageRun, Subject, chosen, entries, runs_of, stage_folder
from tasks.project.timed import ANEW, elsewhere


def show_status(root: Path, names: Sequence[str], console: Console) -> None:
    """Print one table of stages and one of models; of these problems alone if any is named."""
    params = load_params(root / "params.yaml")
    kinds = [PROBLEM] if names else [kind for kind in KINDS.values() if entries(params, kind)]
    subjects = {kind: chosen(params, kind, names) for kind in kinds}
    runs = dict.fromkeys(run for kind in kinds for run in runs_of(params, kind, subjects[kind]))
    with shared_cache(root).at_once():
        console.print(_stages(root, shared_cache(root), list(runs)))
    models = Table("problem", "registered model", "versions", "aliases", "report")
    for subject in itertools.chain.from_iterable(subjects.values()):
        report = stage_folder(root, subject.row.reports, subject) / "report.html"
        where = str(report.relative_to(root)) if report.is_file() else "none yet"
        models.add_row(subject.name, *_model(root, params, subject), where)
    console.print(models)
    for subject in itertools.chain.from_iterable(subjects.values()):
        for line in _doubts(root, params, subject):
            console.print(f"[yellow]doubt[/yellow]  {escape(line)}", soft_wrap=True)


def _stages(root: Path, cache: StageCache, runs: Sequence[StageRun]) -> Table:
    table, written = Table("stage", "problem", "state", "changed"), _being_written(root)
    for run in runs:
        staleness = cache.staleness(run.address)
        state = "[yellow]stale[/yellow]" if staleness else "[green]up to date[/green]"
        if any(path.is_relative_to(stage_folder(root, run.stage, run.subject)) for path in written):
            state = "[cyan]running[/cyan]"
        machine = elsewhere(root, run)
        note = str(staleness) if staleness else f"times of {machine}; {ANEW} takes them anew" if machine else ""
        table.add_row(run.stage, str(run.subject or ""), state, escape(note))
    cache.save()
    return table


def _being_written(root: Path) -> list[Path]:
    """Outputs of the stages that run now, in whatever process, as DVC's file of locks has them."""
    try:
        held = json.loads((root / ".dvc/tmp/rwlock").read_bytes())["write"]
    except (OSError, ValueError, KeyError):  # none, or it is being written
        return []
    return [Path(path) for path, holder in held.items() if psutil.pid_exists(holder["pid"])]


def _model(root: Path, params: Params, subject: Subject) -> tuple[str, str, str]:
    """Name, versions and aliases; nothing where its kind registers none."""
    if subject.row.registers is None:
        return "", "", ""
    name = subject.registered_name(params)
    return name, *_registered(registered_model(tracking_uri(root), name))


def _doubts(root: Path, params: Params, subject: Subject) -> Iterator[str]:
    """A champion that no longer meets its gates."""
    if subject.row.registers is None:
        return
    model = registered_model(tracking_uri(root), subject.registered_name(params))
    champion = None if model is None else model.aliases.get("champion")
    if model is not None and champion in model.doubts:
        yield (
            f"models:/{model.name}@champion, version {champion}: {model.doubts[champion]}; it stays until a better one"
            f" comes, or `seam rollback {model.name}`"
        )


def _registered(model: RegisteredModel | None) -> tuple[str, str]:
    if model is None:
        return "unknown: the registry cannot be read from here", ""
    aliases = ", ".join(f"@{alias} -> {version}" for alias, version in sorted(model.aliases.items()))
    return ", ".join(map(str, model.versions)) or "none", aliases
