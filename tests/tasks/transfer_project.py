"""What tests of the stages of a transfer work on: parameters, network, images, and where results lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seam.methods.catalogue import STUDENTS, names
from tasks.project.params import parse_params
from tasks.project.stage import StageContext
from tasks.project.students import StudentName
from tasks.project.subject import Subject

CLASSES = ("blue", "green", "red")
SEAM = StudentName("seam-70", 0)


NETWORK = """
from torch import nn


def tiny(num_classes):
    def block(inputs, outputs):
        return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes)]
    return nn.Sequential(*block(3, 8), *block(8, 8), nn.MaxPool2d(2), *block(8, 8), *pooled)
"""


TRAINING = {"epochs": 4, "batch_size": 8}
VALUES: dict[str, Any] = {
    "problems": {"a": ["x"]},
    "runtime": {"device": "cpu", "precision": "fp32", "threads": 1},
    "evaluate_robustness": {"batch_size": 4, "steps": 3},
    "targets": {"flowers": {"kind": "image_folder", "path": "flowers", "image_size": 16}},
    "transfer": {
        "methods": [*names(STUDENTS), "seam-70"],
        "architecture": "tiny.py:tiny",
        "checkpoint": "tiny.safetensors",
        "num_classes": 7,
        "search": {"rounds": 3, "batch_size": 8},
        "training": TRAINING,
        "retrain": {**TRAINING, "momentum": 0.9},
        "whitebox": {"steps": 2, "fab_steps": 2},
        "whitebox_images": 6,
        "fab": True,
    },
}


def make_images(root: Path) -> None:
    """Three classes that their colour tells apart: 15 images of each to train on, 8 to test on."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 15), ("test", 8)):
        for number, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 140, (16, 16, 3))
                pixels[..., 2 - number] += 60
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")


def context_of(root: Path, stage: str, student: StudentName | None = None, **changes: Any) -> StageContext:
    params = parse_params({**VALUES, **changes}, "test")
    return StageContext(stage, params, root, Subject("target", "flowers", student))


def with_transfer(root: Path, stage: str, student: StudentName | None = None, **changes: Any) -> StageContext:
    return context_of(root, stage, student, transfer={**VALUES["transfer"], **changes})


def student_folder(root: Path, method: str = SEAM.method) -> Path:
    return root / "artifacts" / "flowers" / "students" / f"{method}-seed0"
