"""Whether a stage has to run: what DVC compares, and what it does not see (a moved alias, an empty registry)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.registry_view import registered_model
from flows.stage_cache import StageCache
from seam.files import read_json
from tasks.project.data_guard import digest_of_data
from tasks.project.environment import tracking_uri
from tasks.project.params import load_params
from tasks.project.source_changes import changed_source, own_sources
from tasks.project.stages import KINDS
from tasks.project.subject import StageRun, entries, stage_folder


def up_to_date(cache: StageCache, root: Path, run: StageRun) -> bool:
    """Whether there is nothing to do for a stage."""
    if registers(run.stage):  # what it does is outside its files: those alone would not move the alias
        return cache.is_current(run.address) and _is_registered(root, run)
    return not source_changed(root, run) and cache.is_current(run.address)


def without_running(cache: StageCache, root: Path, run: StageRun) -> str | None:
    """How the outputs come to be there without running the stage; None: it has to run."""
    if up_to_date(cache, root, run):
        return "up to date"
    if registers(run.stage) or source_changed(root, run):
        return None
    return "same inputs ran before, restored from the DVC cache" if cache.restore(run.address) else None


def registers(stage: str) -> bool:
    """Whether a stage registers a model."""
    return any(stage == kind.registers for kind in KINDS.values())


def source_changed(root: Path, run: StageRun) -> bool:
    """Whether a stage has to read its source again though its parameters are the same: DVC compares names alone.

    Or modules that were made elsewhere, or a source of its own.
    """
    section = next((kind.source_section for kind in KINDS.values() if kind.source == run.stage), None)
    reports = run.subject is not None and run.stage == run.subject.row.reports
    if section is None and not reports:
        return False
    folder = stage_folder(root, run.stage, run.subject)
    source, metrics = (
        read_json(path) if path.is_file() else {} for path in (folder / "source.json", folder / "metrics.json")
    )
    if _own_files_changed(root, source) or _own_files_changed(root, metrics):
        return True
    fetched = metrics.get("fetched", {})  # of networks that were chosen from
    if any(_alias_moved(root, {"fetched_from": version}, name) for name, version in fetched.items()):
        return True
    return bool(source) and any(_alias_moved(root, source, name) for name in _checkpoints(root, run, section))


def _checkpoints(root: Path, run: StageRun, section: str | None) -> list[str]:
    """What the source of a stage is loaded from: that of the section with it, or of the subject's own."""
    params = load_params(root / "params.yaml")
    if section is not None:
        return [getattr(params, section).checkpoint or ""]
    assert run.subject is not None, f"{run.stage} is a stage of a subject"
    kind, name = run.subject.row, run.subject.name
    return [
        changed_source(params.prepare_source, changes, f"{kind.section}.{name}.{key}").checkpoint or ""
        for key, changes in own_sources(entries(params, kind)[name])
    ]


def _own_files_changed(root: Path, source: Mapping[str, Any]) -> bool:
    """Whether a checkpoint, an architecture file or raw data has other content than when it was read."""
    files = source.get("files", {})
    return any(not (root / name).exists() or digest_of_data(root / name) != digest for name, digest in files.items())


def _alias_moved(root: Path, source: Mapping[str, Any], checkpoint: str) -> bool:
    """Whether the alias of the checkpoint (models:/NAME@ALIAS) is on another version than the one that was read."""
    name, is_alias, alias = checkpoint.removeprefix("models:/").partition("@")
    if not checkpoint.startswith("models:/") or not is_alias:
        return False
    model = registered_model(tracking_uri(root), name)
    return model is not None and f"models:/{name}/{model.aliases.get(alias)}" != source.get("fetched_from")


def _is_registered(root: Path, run: StageRun) -> bool:
    """Whether the version on the card is in the registry (a fresh clone has the card, and an empty registry).

    A card may have none.
    """
    card = read_json(stage_folder(root, run.stage, run.subject) / "card.json")
    if card.get("registered_model") is None:
        return True
    model = registered_model(tracking_uri(root), card["registered_model"])
    return model is None or int(card.get("version") or 0) in model.versions
