"""From finished trainings to the card of a problem: the best of each arm by val, and that one alone on test."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from duel.arms import ARMS
from duel.attacked import attacked_images
from duel.budget import BATCH, smallest
from duel.data import images_of, source_of, splits_of
from duel.differences import class_mean, packed
from duel.jobs import TOLERANCE, WORK, Job, absent, device, jobs_of, task_of
from duel.problems import NETWORKS, PROBLEMS
from duel.task import Budget
from seam.configs.inference import EngineName, LatencyConfig
from seam.data.images import LabelledImages
from seam.defects.inheritance import defect_inheritance
from seam.files import read_json, write_json
from seam.inference.engines import ENGINES, version
from seam.inference.export import export_onnx
from seam.inference.measure import measure
from seam.inference.timing import hardware
from seam.inference.variants import InputSpec, Variant

ROOT = Path(__file__).resolve().parents[2]
CARDS = ROOT / "benchmarks" / "results" / "duel"
TIMED: tuple[EngineName, ...] = ("onnxruntime", "openvino")
_REPEATS = 60
Card = dict[str, Any]


def judge(problem: str, seed: int, budget: str, folder: Path, command: Sequence[str]) -> None:
    """Write the card of one problem, seed and budget, unless its rows are of the same trainings already."""
    jobs = jobs_of([problem], [seed], [budget], list(ARMS))
    done = {job: card for job in jobs if (card := job.card()) is not None}
    chosen, lost = best_of(done)
    if not chosen:
        return
    path = CARDS / f"{problem}-{budget}-seed{seed}.json"
    names = {f"{arm} {group}": job.name for (arm, group), job in chosen.items()}
    if path.is_file() and read_json(path)["trainings"] == names:
        return
    print(f"{problem}, {budget}, seed {seed}: {len(chosen)} networks on test", flush=True)
    first = next(iter(chosen.values()))
    about, rows = _measured(first, chosen, done, folder)
    write_json(
        path,
        {
            **about,
            "rows": [*rows, *lost, *_missing(chosen, lost, Budget.of(budget))],
            "trainings": names,
            "command": "make duel ARGS=" + shlex.quote(" ".join(_shown(command))),
            "machine": {**hardware(), "versions": {e: version(e) for e in (*TIMED, "torch")}},
            "trained_on": sorted({done[job].get("device", "cpu") for job in chosen.values()}),
        },
    )


def best_of(done: dict[Job, Card]) -> tuple[dict[tuple[str, str], Job], list[Card]]:
    """Of every arm and group of losses the training with the best val accuracy, the first of equals.

    Returns:
        (arm, group) -> job; and a row for each arm that has no network, with the reason.
    """
    chosen: dict[tuple[str, str], Job] = {}
    lost: list[Card] = []
    for name, arm in ARMS.items():
        mine = {job: card for job, card in done.items() if job.arm == name}
        for group, losses in arm.losses.items():
            scored = {j: c["val_accuracy"] for j, c in mine.items() if j.loss in losses and "val_accuracy" in c}
            if scored:
                chosen[name, group] = max(scored, key=lambda job: scored[job])
        reasons = [c[kind] for c in mine.values() for kind in ("no_layout", "failed") if kind in c]
        if reasons and not any(key[0] == name for key in chosen):
            lost.append({"arm": name, "label": arm.label, "kind": arm.kind, "lost": reasons[0]})
    return chosen, lost


def _missing(chosen: dict[tuple[str, str], Job], lost: list[Card], budget: Budget) -> list[Card]:
    """Rows of arms whose library is not there."""
    known = {arm for arm, _ in chosen} | {row["arm"] for row in lost}
    reasons = {name: absent(arm) for name, arm in ARMS.items() if name not in known and arm.keeps(budget)}
    return [
        {"arm": name, "label": ARMS[name].label, "kind": ARMS[name].kind, "lost": reason}
        for name, reason in reasons.items()
        if reason is not None
    ]


def _shown(command: Sequence[str]) -> list[str]:
    """The command without the place of the user's data."""
    words = list(command)
    for i, word in enumerate(words[:-1]):
        if word == "--data":
            words[i + 1] = "FOLDER"
    return words


def _measured(
    first: Job, chosen: dict[tuple[str, str], Job], done: dict[Job, Card], folder: Path
) -> tuple[Card, list[Card]]:
    """What is common to the rows, and a row for each chosen training."""
    problem = PROBLEMS[first.problem]
    network = NETWORKS[problem.network]
    data = images_of(folder, network.data, network.side)
    task, test = task_of(first, folder), splits_of(problem, data, first.seed)[4]
    order = test.labels.argsort(stable=True)
    test = LabelledImages(test.images[order], test.labels[order])
    counts = test.labels.bincount().tolist()
    preprocess = task.source.preprocess()
    original = WORK / "originals" / f"{problem.name}-seed{first.seed}.onnx"
    export_onnx(smallest(task.original(), task.example()), task.example(), original)
    files = {"original": original} | {f"{a} {g}": job.folder / "model.onnx" for (a, g), job in chosen.items()}
    times = _times(files, task.example().shape[1:])
    attack = attacked_images(problem.name, source_of(folder, problem, data), test, device())

    def outcomes(name: str) -> Card:
        right, answers = _answers(files[name], preprocess(test.images)), attack
        accuracy = class_mean((right == test.labels.numpy()).astype(np.float64), counts)
        before, after = (torch.from_numpy(_answers(files[name], x)) for x in (answers.clean, answers.adversarial))
        return {
            "accuracy": accuracy.value,
            "half_interval": accuracy.half,
            **{k: v for k, v in asdict(defect_inheritance(before, after, answers.labels)).items() if k != "accuracy"},
            "latency": times[name],
            "answers": packed(right == test.labels.numpy()),
        }

    about = {
        "problem": problem.name,
        "classes": list(task.target.classes),
        "network": problem.network,
        "pilot": problem.pilot,
        "seed": first.seed,
        "budget": first.budget,
        "passes": first.passes,
        "pass_images": len(task.train),
        "val_images": len(task.val),
        "test_counts": counts,
        "attacked_images": len(attack.labels),
        "engines": list(TIMED),
        "original": {**outcomes("original"), "macs": done[first]["macs"]["original"]},
    }
    return about, [_row(arm, group, done[job], outcomes(f"{arm} {group}")) for (arm, group), job in chosen.items()]


def _row(arm: str, group: str, card: Card, outcomes: Card) -> Card:
    timed = outcomes["latency"][TIMED[0]]
    budget = Budget.of(card["budget"])
    late = ARMS[arm].within_budget and budget.unit == "ms" and timed.get("ratio_low", 0) > TOLERANCE * budget.share
    kept = ("loss", "rate", "val_accuracy", "cpu_seconds", "passes_used", "facts", "precision", "warnings")
    return {
        "arm": arm,
        "label": ARMS[arm].label,
        "kind": ARMS[arm].kind,
        "group": group,
        **{k: card[k] for k in kept},
        "doubts": [*card["doubts"], *(["over the budget when timed"] if late else [])],
        "macs_share": card["macs"]["arm"] / card["macs"]["original"],
        **outcomes,
    }


def _answers(onnx: Path, images: torch.Tensor) -> npt.NDArray[np.int64]:
    """Predicted labels of normalised images."""
    run = ENGINES["onnxruntime"].load(Variant(onnx), BATCH, 1, {})
    logits = [run(np.ascontiguousarray(part.numpy())) for part in images.split(256)]
    found: npt.NDArray[np.int64] = np.concatenate(logits).argmax(1)
    return found


def _times(files: dict[str, Path], shape: Sequence[int]) -> dict[str, Card]:
    """Milliseconds of all networks, in turn, by engine."""
    config = LatencyConfig(engines=TIMED, batch_sizes=(BATCH,), num_threads=1, warmup=5, repeats=_REPEATS)
    found: dict[str, Card] = {name: {} for name in files}
    for engine in TIMED:
        variants = {name: Variant(path) for name, path in files.items()}
        try:
            measured = measure(engine, variants, InputSpec(tuple(shape)), config, 0)
        except Exception as e:  # an engine that is not there
            for name in files:
                found[name][engine] = {"unavailable": f"{type(e).__name__}: {e}"[:200]}
            continue
        for name in files:
            found[name][engine] = measured.latencies[name][f"batch{BATCH}"]
    return found
