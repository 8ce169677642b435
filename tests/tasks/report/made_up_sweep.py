"""A sweep that never ran: believable rows, in any number."""

from __future__ import annotations

import random
from typing import Any

EPOCH = (
    "reengineered_finetuned: fine-tuning: epoch 0 was kept: none of 10 epochs got above the {:.2f}% on val that the"
    " model began with, the best reached {:.2f}%; lower finetune.lr, finetune.lr_head or finetune.rates."
)
SMALL = "'{}': 24 val images, so one image is 4.17 points of accuracy; set split_dataset.val_fraction higher."


def figures(**changes: Any) -> dict[str, Any]:
    """A headline by hand: nothing doubtful, promoted."""
    return {
        "registered_model": "seam-zero",
        "version": 1,
        "aliases": ["champion"],
        "promoted": True,
        "run_id": "r",
        "accuracy": 0.98,
        "original_accuracy": 0.99,
        "density": 0.1,
        "macs": 200_000.0,
        "original_macs": 1_000_000.0,
        "latency_ms_p50": 0.25,
        "original_latency_ms_p50": 1.0,
        "engine": "onnxruntime",
        "batch_size": 16,
        "defect_inheritance_rate": 0.01,
        "standard_defect_inheritance_rate": 0.03,
        "gates": [{"gate": "accuracy_drop", "passed": True, "text": "fine"}],
        "warnings": [],
        **changes,
    }


def row(key: str, state: str = "done", **changes: Any) -> dict[str, Any]:
    """A row whose subject and setting are read off its key."""
    subject, *settings = key.split(" ")
    return {
        "key": key,
        "subject": subject,
        "setting": dict(pair.split("=") for pair in settings),
        "state": state,
        "error": "",
        "headline": figures() if state == "done" else None,
        "seconds": 10.0 if state == "done" else None,
        "worker": "host:/work/w1" if state != "waiting" else "",
        **changes,
    }


def made_up(subjects: int, seeds: int, targets: tuple[float, ...] = (0.3, 0.1, 0.05)) -> list[dict[str, Any]]:
    """Every subject with every seed and target; some failed, some wait, some are doubtful."""
    draw = random.Random(3)
    rows = []
    for target in targets:
        for seed in range(seeds):
            for number in range(subjects):
                setting = {"seed": str(seed)} | ({"search.target": str(target)} if target != 0.1 else {})
                key = " ".join([f"digit-{number}", *(f"{name}={value}" for name, value in setting.items())])
                rows.append(_one(key, setting, number, target, draw))
    return rows


def _one(key: str, setting: dict[str, str], number: int, target: float, draw: random.Random) -> dict[str, Any]:
    chance, worker = draw.random(), f"host-{draw.randint(1, 3)}:/work/w{draw.randint(1, 2)}"
    one = {"key": key, "subject": f"digit-{number}", "setting": setting, "worker": worker}
    if chance < 0.04:
        lines = (
            "search: expected a loss that is a number, got nan in round 7; lower search.lr_scores.",
            "its worker died each time it was tried (out of memory?); see .seam/worker.log in the worker's folder",
        )
        return one | {"state": "failed", "error": lines[number % 2], "headline": None, "seconds": None}
    if chance < 0.07:
        return one | {"state": "waiting", "error": "", "headline": None, "seconds": None, "worker": ""}
    original = 0.995 - 0.002 * (number % 7)
    accuracy = round(min(1.0, original + draw.gauss(0.004 - 0.0018 / target, 0.004)), 4)
    milliseconds = 0.72 * (0.12 + 0.9 * target) * draw.uniform(0.9, 1.1)
    promoted = accuracy > original - 0.02
    text = f"accuracy {accuracy:.2%} against {original:.2%} of source on 118 test images; a drop of 2 points is allowed"
    doubts = [EPOCH.format(100 * accuracy, 100 * accuracy)] * (draw.random() < 0.3)
    doubts += [SMALL.format(f"digit-{number}")] * (number == 4)
    headline = figures(
        registered_model=f"seam-digit-{number}",
        version=draw.randint(1, 9),
        promoted=promoted,
        accuracy=accuracy,
        original_accuracy=original,
        density=target * draw.uniform(0.8, 1.0),
        macs=2_576_768 * target * draw.uniform(0.9, 1.0),
        original_macs=2_576_768.0,
        latency_ms_p50=milliseconds,
        original_latency_ms_p50=0.72,
        engine="deepsparse",
        defect_inheritance_rate=max(0.0, draw.gauss(0.012, 0.01)),
        standard_defect_inheritance_rate=0.025,
        gates=[
            {"gate": "accuracy_drop", "passed": promoted, "text": text},
            {"gate": "fewer_weights", "passed": True, "text": "6,732 non-zero weights against 270,906 of source"},
        ],
        warnings=doubts,
    )
    link = f"../../artifacts/digit-{number}/register_model/report.html"
    return one | {"state": "done", "error": "", "headline": headline, "seconds": draw.uniform(20, 90), "link": link}
