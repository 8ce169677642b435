"""Images and weights of the duel, from a folder of the user's own."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from duel.problems import NETWORKS, Problem
from duel.trained_here import trained_weights
from seam.data.formats.load import load_raw
from seam.data.images import LabelledImages
from seam.data.prepared import ImageData
from seam.data.problems import IntArray, TargetProblem
from seam.data.splits import carve_val
from seam.errors import DataError
from seam.files import sha256_file
from seam.networks.build import build
from seam.networks.source import Source, SourceInfo
from seam.networks.state_dicts import load_weights

ROOT = Path(__file__).resolve().parents[2]
PASS_IMAGES = 4000
"""Training images of a problem; one pass is over all of them."""
EXPECTED = (
    "cifar10/ and cifar100/ (NAME.npz, or mosaics SPLIT_NN.webp of 25 x 40 images with SPLIT_labels.npy and"
    " classes.json), flowers17/ (train/CLASS/*, test/CLASS/*) and weights/ (*.safetensors)"
)


def require(folder: Path, problems: list[Problem]) -> None:
    """Stop at once where data or weights of these problems are missing.

    Raises:
        DataError: they are.
    """
    for problem in problems:
        network = NETWORKS[problem.network]
        wanted = [folder / network.data] + ([] if network.trained else [folder / "weights" / network.weights])
        for path in wanted:
            if not path.exists():
                raise DataError(f"{path}: needed for {problem.name}, got nothing; give --data FOLDER with {EXPECTED}")


@lru_cache(maxsize=2)
def images_of(folder: Path, name: str, side: int) -> ImageData:
    """A whole data set.

    Raises:
        DataError: it is not there.
    """
    where = folder / name
    if (where / f"{name}.npz").is_file():
        with np.load(where / f"{name}.npz", allow_pickle=False) as arrays:
            classes = tuple(str(c) for c in arrays["classes"])
            x, y = ({s: arrays[f"{kind}_{s}"] for s in ("train", "test")} for kind in "xy")
    elif (where / "classes.json").is_file():
        classes = tuple(json.loads((where / "classes.json").read_text())["classes"])
        x = {split: _mosaics(where, split) for split in ("train", "test")}
        y = {split: np.load(where / f"{split}_labels.npy") for split in ("train", "test")}
    elif (where / "train").is_dir():
        raw = load_raw("image_folder", where, side)
        classes = raw.classes
        x = {s: np.stack([i.pixels for i in raw.images if i.split == s and i.pixels is not None]) for s in _SPLITS}
        y = {s: np.array([i.label for i in raw.images if i.split == s]) for s in _SPLITS}
    else:
        raise DataError(f"{where}: expected {name}, got none of its files; give --data FOLDER with {EXPECTED}")
    return ImageData(x["train"], y["train"].astype(np.int64), x["test"], y["test"].astype(np.int64), classes)


_SPLITS = ("train", "test")


def _mosaics(folder: Path, split: str) -> npt.NDArray[np.uint8]:
    """Every file is 25 x 40 images of 32 x 32 pixels, row by row."""
    whole = [np.asarray(Image.open(f).convert("RGB")) for f in sorted(folder.glob(f"{split}_*.webp"))]
    rows = [m.reshape(25, 32, 40, 32, 3).transpose(0, 2, 1, 3, 4).reshape(1000, 32, 32, 3) for m in whole]
    return np.concatenate(rows)


def source_of(folder: Path, problem: Problem, data: ImageData) -> Source:
    """The trained network of a problem."""
    network = NETWORKS[problem.network]
    module = build(architecture_of(network.architecture), len(data.classes)).eval()
    weights = folder / "weights" / network.weights
    if network.trained:
        weights = trained_weights(network, module, data, weights)
    load_weights(module, weights)
    info = SourceInfo(
        architecture=network.architecture,
        num_classes=len(data.classes),
        classes=data.classes,
        mean=network.mean,
        std=network.std,
        image_shape=data.image_shape,
        sha256=sha256_file(weights),
        params_total=sum(p.numel() for p in module.parameters()),
        trained_here=network.trained,
    )
    return Source(module.eval(), info)


def architecture_of(name: str) -> str:
    """As `seam.networks.build.build` takes it, from any working directory."""
    kind, _, function = name.rpartition(":")
    return f"{ROOT / kind}:{function}" if kind.endswith(".py") else name


def splits_of(
    problem: Problem, data: ImageData, seed: int
) -> tuple[TargetProblem, LabelledImages, LabelledImages | None, LabelledImages, LabelledImages]:
    """The problem, its training images of one pass, further negatives, val and test.

    Val is carved out of the test images, none of which the source has seen; what is left is test.
    The two are the same for every seed. The test of a binary problem has all negatives there are.
    """
    target = TargetProblem.of(problem.name, problem.classes, data.classes)
    parts = carve_val(data.x_test, data.y_test, problem.val_share, 0)
    val = target.select(data.y_test, parts.val, 0)
    labels = target.target_labels(data.y_test)
    test = parts.train[labels[parts.train] >= 0]
    chosen, spare = _pass_of(target, data.y_train, seed)
    x, y = data.x_train, target.target_labels(data.y_train)
    return (
        target,
        _images(x, y, chosen),
        _images(x, y, spare) if target.is_binary else None,
        _images(data.x_test, labels, val),
        _images(data.x_test, labels, test),
    )


def _pass_of(target: TargetProblem, labels: IntArray, seed: int) -> tuple[IntArray, IntArray]:
    """Indices of `PASS_IMAGES` training images, as many of each class; and of the negatives that are left."""
    rng = np.random.default_rng(seed)
    wanted = target.target_labels(labels)
    each = PASS_IMAGES // target.num_classes
    drawn = [rng.permutation(np.flatnonzero(wanted == c))[:each] for c in range(target.num_classes)]
    chosen = np.sort(np.concatenate(drawn))
    spare = np.setdiff1d(np.flatnonzero(wanted == 1), chosen) if target.is_binary else chosen[:0]
    return chosen, spare


def _images(x: npt.NDArray[np.uint8], y: IntArray, rows: IntArray) -> LabelledImages:
    return LabelledImages(torch.from_numpy(x[rows]), torch.from_numpy(y[rows]))
