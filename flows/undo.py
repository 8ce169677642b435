"""What `--set` and `--params` change in params.yaml, taken back: by itself where nothing came of it, or by `seam undo`.

Before the file is changed, it and what DVC has recorded are copied to `.seam/undo`. Afterwards both are
as they were, and so are the results in artifacts/, out of DVC's cache: nothing has to be computed.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from flows.project import state_folder
from flows.stage_cache import shared_cache
from seam.errors import ConfigError, SeamError
from seam.files import read_json, sha256_file, write_bytes, write_json
from tasks.project.change_params import Change
from tasks.project.layout import lay_out
from tasks.project.lock_text import split
from tasks.project.params import Params, load_params
from tasks.project.stages import KINDS
from tasks.project.subject import LOCK, StageRun, Subject, chosen, entries, runs_of

logger = logging.getLogger(__name__)

COMMAND = "seam undo"
_RECORD = "changed.json"
_PARAMS = "params.yaml"


@contextmanager
def tried(root: Path, change: Change, subjects: Sequence[Subject], say: Callable[[str], None]) -> Iterator[None]:
    """Write a change, and say so; take it back if the block fails before anything came of it.

    Told to stop in the block it stays: the next run goes on with it.

    Args:
        root: the project.
        change: of its params.yaml; nothing is done where it changes nothing.
        subjects: that are worked on in the block.
        say: called with each line for the user.
    """
    if change.lines:
        _remember(root, change)
        shared_cache(root).made.clear()
        change.write()
        for line in change.lines:
            say(f"params.yaml: {line}")
        say(f"params.yaml keeps that; to take it back: {COMMAND}")
    try:
        yield
    except Exception:
        said = after_failure(root, change, subjects)
        if said:
            say(said)
        raise


def after_failure(root: Path, change: Change, subjects: Sequence[Subject]) -> str:
    """Take a change back unless a subject has come to its report under it; what to tell the user, nothing if nothing.

    What some subjects came to is a result of the parameters as they are: they stay then.
    """
    if not change.lines:
        return ""
    if any(StageRun(s.row.reports, s).address in shared_cache(root).made for s in subjects):
        return (
            f"params.yaml keeps {_names(change.lines)}, with which other results were made; to take it back: {COMMAND}"
        )
    try:
        take_back(root)
    except (SeamError, OSError) as e:
        logger.warning("not taken back", exc_info=True)
        return f"params.yaml keeps {_names(change.lines)} ({e}); to take it back: {COMMAND}"
    return (
        f"params.yaml is as before, without {_names(change.lines)}: nothing came of it. The same command goes on where"
        " this one ended."
    )


def take_back(root: Path) -> list[str]:
    """Have params.yaml, and what was recorded and made under it, as before the last change; the lines of that.

    Raises:
        ConfigError: there is none, or the file has been edited since.
    """
    folder, path = state_folder(root) / "undo", root / _PARAMS
    if not (folder / _RECORD).is_file():
        raise ConfigError(f"{path}: expected a change by --set or --params to take back, got none since the last undo.")
    record = read_json(folder / _RECORD)
    lines: list[str] = list(record["lines"])
    if sha256_file(path) != record["after"]:
        raise ConfigError(
            f"{path}: expected it as --set left it, got one that was edited since; take back by hand what it changed:"
            f" {'; '.join(lines)}."
        )
    write_bytes(path, (folder / _PARAMS).read_bytes())
    params = load_params(path)
    lay_out(root, params)
    try:
        _bring_results(root, folder, params)
    except SeamError:  # DVC is busy: the next run brings them
        logger.warning("results are not brought back yet", exc_info=True)
    shutil.rmtree(folder)
    return lines


def _remember(root: Path, change: Change) -> None:
    """Copy what a change may touch; whole before it is in the place of the last copy."""
    folder = state_folder(root) / "undo"
    new = folder.with_name("undo.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    for lock in (root / LOCK, *(lock for kind in KINDS.values() for lock in (root / kind.section).glob(f"*/{LOCK}"))):
        if lock.is_file():
            copy = new / lock.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(lock, copy)
    write_bytes(new / _PARAMS, change.before)
    write_json(new / _RECORD, {"after": hashlib.sha256(change.after).hexdigest(), "lines": list(change.lines)})
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)


def _bring_results(root: Path, folder: Path, params: Params) -> None:
    """Have every stage as it was recorded then, as far as the parameters are what decided."""
    cache = shared_cache(root)
    runs = [
        run for kind in KINDS.values() if entries(params, kind) for run in runs_of(params, kind, chosen(params, kind))
    ]
    recorded: dict[str, dict[str, str]] = {}
    with cache.at_once():
        for address in dict.fromkeys(run.address for run in runs):
            if address.lock not in recorded:
                copy = folder / address.lock
                recorded[address.lock] = split(copy.read_text("utf-8") if copy.is_file() else "") or {}
            section = recorded[address.lock].get(address.name)
            if section and not cache.is_known(address):
                cache.put_back(address, section)
    cache.save()


def _names(lines: Sequence[str]) -> str:
    """What was set: "search.alpha, seed and 3 more"."""
    names = [line.partition(": ")[0] for line in lines]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
