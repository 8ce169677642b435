"""Jobs: one training of one arm each; what is done is not done again."""

from __future__ import annotations

import importlib.util
import math
import os
import time
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch

from duel.arms import ARMS
from duel.budget import Clock, smallest
from duel.data import images_of, source_of, splits_of
from duel.problems import NETWORKS, PROBLEMS
from duel.task import Arm, Budget, Made, NoLayoutError, Setting, Task, first_line, macs_of
from duel.train import RATES, available
from seam.configs.runtime import RuntimeConfig
from seam.errors import SeamError
from seam.files import read_json, write_json
from seam.inference.export import export_onnx
from seam.networks.head import Reengineered, fit_head
from seam.networks.predict import predict
from seam.runtime import start
from seam.training.loop import best_epoch

WORK = Path(__file__).resolve().parents[2] / "build" / "duel"
PASSES = 12
_ABOVE_CHANCE = 3.0
"""A first pass whose loss is so many times that of guessing is named."""

DEVICE = "SEAM_DUEL_DEVICE"
"""Environment variable of the processes that do the jobs."""

TOLERANCE = 1.05
"""How far above the budget a second measurement of a network may be without being named."""


@dataclass(frozen=True)
class Job:
    """One training."""

    problem: str
    seed: int
    budget: str
    """Label of a `Budget`."""
    arm: str
    """A name in `ARMS`."""
    loss: str
    rate: float
    passes: int = PASSES

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.problem}-seed{self.seed}-{self.budget}-{self.arm}-{self.loss}-{self.rate:g}-{self.passes}passes"

    @property
    def folder(self) -> Path:
        """Where its card and its network lie."""
        return WORK / "jobs" / self.name

    def card(self) -> dict[str, Any] | None:
        """What it has found; None where it has not been done."""
        path = self.folder / "card.json"
        return read_json(path) if path.is_file() else None


def jobs_of(
    problems: Sequence[str],
    seeds: Sequence[int],
    budgets: Sequence[str],
    arms: Sequence[str],
    rates: Sequence[float] = RATES,
) -> list[Job]:
    """Every training that is to be done, problem by problem."""
    return [
        Job(problem, seed, budget, arm, loss, rate)
        for problem in problems
        for seed in seeds
        for budget in budgets
        for arm in arms
        if ARMS[arm].keeps(Budget.of(budget))
        for losses in ARMS[arm].losses.values()
        for loss in losses
        if available(loss)
        for rate in rates
    ]


def absent(arm: Arm) -> str | None:
    """Why an arm cannot run here; None where it can."""
    missing = [name for name in arm.needs if importlib.util.find_spec(name) is None]
    return f"{', '.join(missing)} not installed: make duel installs it" if missing else None


def run(job: Job, folder: Path) -> dict[str, Any]:
    """Do one job and write its card; a card of what went wrong where an arm cannot do it."""
    arm = ARMS[job.arm]
    reason = absent(arm)
    if reason is not None:
        return {**asdict(job), "absent": reason}
    task = task_of(job, folder)
    started, measuring, spared = time.process_time(), task.clock.seconds, task.clock.spared
    torch.manual_seed(job.seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            made = arm.make(task, Setting(job.loss, job.rate))
            seconds = time.process_time() - started - (task.clock.seconds - measuring) + task.clock.spared - spared
            card = _card(job, task, arm, made, seconds)
        except Exception as e:  # a rival that fails is a row that says so
            kind = "no_layout" if isinstance(e, NoLayoutError) else "failed"
            trace = [] if isinstance(e, SeamError) else traceback.format_exc().splitlines()[-6:]
            card = {**asdict(job), kind: first_line(e), "trace": trace}
    own = sorted({str(w.message)[:200] for w in caught if "seam" in w.category.__module__})
    write_json(job.folder / "card.json", {**card, "warnings": own})
    return card


def device() -> Literal["cpu", "cuda"]:
    """What this process trains on: the CPU, unless `DEVICE` is cuda. Milliseconds are the CPU's, always."""
    return "cuda" if os.environ.get(DEVICE) == "cuda" else "cpu"


def task_of(job: Job, folder: Path) -> Task:
    """Everything an arm needs; what does not depend on the budget is made once a process."""
    source, target, train, spare, val, head, clock, runtime = _prepared(folder, job.problem, job.seed)
    memory = WORK / "layouts" / f"{job.problem}-seed{job.seed}-{job.budget}"
    budget = Budget.of(job.budget)
    return Task(target, source, head, train, spare, val, budget, job.passes, runtime, job.seed, clock, memory)


@lru_cache(maxsize=2)
def _prepared(folder: Path, name: str, seed: int) -> tuple[Any, ...]:
    problem = PROBLEMS[name]
    network = NETWORKS[problem.network]
    data = images_of(folder, network.data, network.side)
    source = source_of(folder, problem, data)
    runtime = start(RuntimeConfig(device=device(), threads=1), source.info.pixels)
    target, train, spare, val, _ = splits_of(problem, data, seed)
    head = fit_head(predict(source.network, train, source.preprocess()), train.labels, target.num_classes)
    clock = Clock(Reengineered(source.network, head), source.example(train.images[:2]))
    return source, target, train, spare, val, head, clock, runtime


def _card(job: Job, task: Task, arm: Arm, made: Made, seconds: float) -> dict[str, Any]:
    example = task.example()
    spent = task.spent(made.model)
    macs = {"original": macs_of(task.original(), example), "arm": macs_of(made.model, example)}
    export_onnx(smallest(made.model, example), example, job.folder / "model.onnx")
    return {
        **asdict(job),
        "val_accuracy": best_epoch(made.epochs).val_accuracy if made.val_accuracy is None else made.val_accuracy,
        "val_images": len(task.val),
        "share_spent": spent,
        "macs": macs,
        "passes_used": made.passes,
        "cpu_seconds": round(seconds, 2) if task.runtime.device.type == "cpu" else None,
        "device": name_of(task.runtime.device),
        "epochs": [asdict(e) for e in made.epochs],
        "doubts": doubts(made, task, spent if arm.within_budget else 0.0),
        "facts": made.facts,
        "precision": task.runtime.precision,
    }


def name_of(device: torch.device) -> str:
    """As its maker calls it."""
    return "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device)


def doubts(made: Made, task: Task, spent: float) -> list[str]:
    """What a reader should know before believing a row."""
    found, epochs = [], made.epochs
    best = best_epoch(epochs)
    losses = [e.loss for e in epochs if e.loss is not None]
    if made.val_accuracy is None and best is epochs[0]:
        found.append("epoch 0 kept")
    if losses and losses[0] > _ABOVE_CHANCE * math.log(task.target.num_classes) and losses[-1] > losses[0] / 2:
        found.append("loss stayed far above chance level")
    if made.val_accuracy is None and len(losses) > 1 and epochs[1].complete and losses[-1] > losses[0]:
        found.append("loss rose")
    if best.val_accuracy < 1.1 / task.target.num_classes:
        found.append("at chance")
    if spent > TOLERANCE * task.budget.share:
        found.append(f"over the budget: {spent:.1%}")
    if made.passes > task.passes:
        found.append(f"{made.passes:g} passes instead of {task.passes}")
    return found
