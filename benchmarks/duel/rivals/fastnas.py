"""NVIDIA ModelOpt's FastNAS: what each width of each layer costs alone, then the widths that cost least together.

As documented: the score is the accuracy on val, normalisation is calibrated on training images.
Widths are multiples of 8 (the library's default, 32, leaves these networks hardly a choice). Its
limit is in multiply-adds, so the limit is bisected until the measured time fits; what it has learned
of the layers is kept between the searches. It sorts the channels, so that the source's own features
cannot teach what it makes.

Source: the library's documentation, "Pruning: FastNAS".
"""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from duel.budget import first_within
from duel.rivals.torch_pruning import widths
from duel.task import Made, NoLayoutError, Setting, Task
from duel.train import trained
from seam.networks.head import Reengineered
from seam.networks.predict import accuracy, predict

_MULTIPLE = 8
_REMOVED = tuple(round(0.05 * i, 2) for i in range(1, 19))
_CALIBRATION = 16
"""Batches."""
_SEARCH_PASSES = 2
"""What the search counts for: its forward passes over val and the calibration are less than that."""


def fastnas(task: Task, setting: Setting) -> Made:
    """The arm."""
    with tempfile.TemporaryDirectory() as folder:
        learned = Path(folder) / "sensitivity.pt"

        def cost(removed: float) -> float:
            try:
                return task.spent(_searched(task, removed, learned))
            except ValueError:  # the library: the limit cannot be met
                return float("inf")

        removed, least = first_within(task, "fastnas", cost, _REMOVED)
        if removed is None:
            raise NoLayoutError(f"no layout within the budget: the smallest takes {least:.1%}")
        model = _searched(task, removed, learned)
    epochs = trained(task, model, setting, task.passes - _SEARCH_PASSES)
    facts = {"macs_removed": removed, "widths": widths(model), "version": version("nvidia-modelopt")}
    return Made(model, epochs, task.passes, facts=facts)


def _searched(task: Task, removed: float, learned: Path) -> Reengineered:
    """The original with the widths that the library finds for so many multiply-adds fewer."""
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        import modelopt.torch.prune as mtp

        model, checkpoint = task.original(), Path(folder) / "search.pt"
        if learned.is_file():
            shutil.copy(learned, checkpoint)
        preprocess = task.source.preprocess()
        batches = task.train.images[torch.randperm(len(task.train), generator=torch.Generator().manual_seed(0))]
        config: dict[str, Any] = {
            "data_loader": [preprocess(b) for b in batches[: _CALIBRATION * 64].split(64)],
            "collect_func": lambda batch: batch,
            "max_iter_data_loader": _CALIBRATION,
            "score_func": lambda network: _score(task, network),
            "checkpoint": str(checkpoint),
            "verbose": False,
        }
        rules = {"nn.Conv2d": {"*": _rule("channel")}, "nn.Linear": {"*": _rule("feature")}}
        rules |= {"nn.BatchNorm2d": {"*": _rule("feature")}}
        found, _ = mtp.prune(
            model.network,
            mode=[("fastnas", rules)],
            constraints={"flops": f"{100 * (1 - removed):.1f}%"},
            dummy_input=task.example(),
            config=config,
        )
        if checkpoint.is_file() and not learned.is_file():
            shutil.copy(checkpoint, learned)
    return Reengineered(found.requires_grad_(True), model.head).eval()


def _rule(what: str) -> dict[str, Any]:
    ratios = tuple(round(0.05 * i, 2) for i in range(1, 21))
    own = {f"{what}s_ratio": ratios, f"{what}_divisor": _MULTIPLE}
    return own | ({"kernel_size": ()} if what == "channel" else {})


def _score(task: Task, network: torch.nn.Module) -> float:
    model = Reengineered(network, task.head).eval()
    return accuracy(predict(model, task.val, task.source.preprocess()), task.val.labels)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The library prints tables and warns of what it does by default."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield
