"""What to do about an error or a doubt of the library: which parameter, or which stage, of the pipeline it comes to.

The library says what is wrong and gives a hint (`seam.errors`); here are the names of this project.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from seam.errors import Hint, SeamError, SuspectResultWarning
from tasks.project.stages import KINDS, Kind, all_stages
from tasks.project.subject import StageRun

_OWN_VAL = "images for val (val/<class>/* in the folder, x_val and y_val in the npz)"
ADVICE: Mapping[Hint, str] = {
    "address": "correct {source}.checkpoint",
    "architecture": "set {source}.architecture",
    "checkpoint": "check the name and the network, or download it elsewhere and name the file in {source}.checkpoint",
    "cost": "use search.cost: weights",
    "data_path": "set {data}.path to where it is",
    "device": "set runtime.device to auto or cpu",
    "features": "set finetune.features to 0",
    "image_size": "set {data}.image_size",
    "learning_rate": "lower {rates}",
    "links": "put the files there or, where you made these links, set {data}.follow_links to true",
    "max_drop": "raise {own}.max_drop, or set {own}.blocks",
    "more_rates": "add others to finetune.rates",
    "normalisation": "check {source}.checkpoint and the normalisation, {source}.mean and {source}.std",
    "num_classes": "give data with the classes it was trained for, or set transfer.num_classes and `seam transfer` it",
    "rerun_producer": "run the stage {producer} again",
    "search_rate": "lower {search}.lr_head or {search}.lr_scores",
    "spatial_dropout": "set {training}.spatial_dropout to 0",
    "structure": "use search.structure: weights",
    "target": "raise search.target or, with search.structure hybrid, search.channels_target",
    "threshold": "lower {own}.threshold",
    "together": "set runtime.searches_together to 1",
    "val_images": f"give {_OWN_VAL}, or set split_dataset.val_from to train",
    "val_seen": f"give {_OWN_VAL}, or set split_dataset.val_from to test",
    "which_weights": "set {source}.weights to the name of one of them",
}
"""What to do; {names} are those that `_names` knows for the stage."""
_PLANTING = {"fetch_source": "transfer.backdoor.training"}
"""Section of the parameters that a source with a backdoor is trained with, by stage."""
_RATES = {
    "prepare_source": ("prepare_source.lr",),
    "search": ("finetune.lr", "finetune.lr_head"),
    "finetune": ("finetune.lr", "finetune.lr_head", "finetune.rates"),
    "evaluate": ("search.lr_head", "search.lr_norms", "prepare_source.lr"),
    "restructure": ("{own}.training.lr", "{own}.training.lr_full"),
    "patch": ("{own}.weak.lr",),
    "modularize": ("{own}.gradsplitter.lr_scores", "{own}.gradsplitter.lr_head", "{own}.source.lr"),
}
"""Learning rates of what a stage trains, where that is no student."""


def advice(hint: Hint, run: StageRun | None, path: Path | None = None, **known: str) -> str | None:
    """What to do where a stage is told `hint`.

    Args:
        hint: of the error.
        run: the stage, and what it works on; None: no stage, for example a command.
        path: of the file that is wrong.
        known: names that the sentences have here, before those of the stage.

    Returns:
        Without a full stop; None: this stage has no parameter for that.
    """
    try:
        return ADVICE[hint].format_map(_names(run, path) | known)
    except KeyError:
        return None


@contextmanager
def advising(run: StageRun | None, **known: str) -> Iterator[None]:
    """Errors of the library raised inside say which parameter of this stage to change; `known`: as of `advice`."""
    try:
        yield
    except SeamError as e:
        said = None if e.hint is None else advice(e.hint, run, e.path, **known)
        if said is None:
            raise
        raise e.advise(said) from e


def doubt(warning: SuspectResultWarning, run: StageRun | None) -> str:
    """The text of a warning, with the parameter of this stage to change."""
    said = None if warning.hint is None else advice(warning.hint, run, warning.path)
    return str(warning) if said is None else str(warning.advise(said))


def _names(run: StageRun | None, path: Path | None) -> dict[str, str]:
    """What the sentences name, as far as it is known."""
    names = {} if path is None else _producer(path)
    if run is None:
        return names
    kind, subject = _kind_of(run), run.subject
    names |= {} if subject is None else {"own": f"{kind.section}.{subject.name}"}
    names |= {"source": kind.source_section, "search": kind.search_section}
    if not kind.own_data:
        names["data"] = "data"
    elif subject is not None:
        names["data"] = f"{kind.section}.{subject.name}"
    training = _PLANTING.get(run.stage)
    if subject is not None and subject.student is not None:
        method = subject.student.row
        training = f"{run.stage}.{method.training}"
        names |= {} if method.search is None else {"search": f"{run.stage}.{method.search}"}
    if training is not None:
        names["training"] = training
    own: tuple[str, ...] = () if training is None else (f"{training}.lr", f"{training}.lr_head")
    if subject is not None and subject.student is not None:
        own += (f"{run.stage}.settings",)
    rates = tuple(rate.format_map(names) for rate in _RATES.get(run.stage, own))
    if rates:
        names["rates"] = " or ".join(filter(None, (", ".join(rates[:-1]), rates[-1])))
    return names


def _kind_of(run: StageRun) -> Kind:
    """The kind of its subject; of a stage of the project, the first kind that has it."""
    if run.subject is not None:
        return run.subject.row
    return next(kind for kind in KINDS.values() if any(stage.name == run.stage for stage in kind.stages))


def _producer(path: Path) -> dict[str, str]:
    """The stage whose folder a file is in."""
    stages = all_stages()
    known = {name: name for name in stages} | {"students": next(n for n, s in stages.items() if s.of == "student")}
    return next(({"producer": known[part]} for part in reversed(path.parts[:-1]) if part in known), {})
