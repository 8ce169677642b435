"""`seam status`: what is up to date, what is not and why, what is registered, where the reports are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.preflight import StageRun, chosen_problems, stages_of, transfer_stages_of
from flows.registry_view import RegisteredModel, registered_model
from flows.stage_cache import StageCache, shared_cache
from tasks.project.environment import tracking_uri
from tasks.project.params import load_params
from tasks.project.subject import dvc_key, stage_folder


def show_status(root: Path, names: Sequence[str], console: Console) -> None:
    """Print one table of stages and one of models."""
    params = load_params(root / "params.yaml")
    problems = chosen_problems(params, names)
    targets = () if names else tuple(params.targets)
    runs = [StageRun(stage, problem) for stage, problem in stages_of(problems)]
    runs += [run for run in transfer_stages_of(params, targets) if run.problem is not None]
    console.print(_stages(shared_cache(root), runs))
    models = Table("problem", "registered model", "versions", "aliases", "report")
    for problem in problems:
        name = f"{params.register_model.name_prefix}{problem}"
        report = stage_folder(root, "register_model", problem) / "report.html"
        where = str(report.relative_to(root)) if report.is_file() else "none yet"
        models.add_row(problem, name, *_registered(registered_model(tracking_uri(root), name)), where)
    for target in targets:
        name = f"{params.register_model.name_prefix}transfer-{target}"
        report = stage_folder(root, "compare_transfers", target) / "report.html"
        where = str(report.relative_to(root)) if report.is_file() else "none yet"
        models.add_row(target, name, *_registered(registered_model(tracking_uri(root), name)), where)
    console.print(models)


def _stages(cache: StageCache, runs: Sequence[StageRun]) -> Table:
    table = Table("stage", "problem", "state", "changed")
    for run in runs:
        staleness = cache.staleness(run.stage, dvc_key(run.problem, run.student))
        state = "[yellow]stale[/yellow]" if staleness else "[green]up to date[/green]"
        subject = " ".join(str(part) for part in (run.problem, run.student) if part is not None)
        table.add_row(run.stage, subject, state, escape(str(staleness)) if staleness else "")
    return table


def _registered(model: RegisteredModel | None) -> tuple[str, str]:
    if model is None:
        return "unknown: the registry cannot be read from here", ""
    aliases = ", ".join(f"@{alias} -> {version}" for alias, version in sorted(model.aliases.items()))
    return ", ".join(map(str, model.versions)) or "none", aliases
