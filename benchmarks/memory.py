"""Memory and time of training on images that do not fit in memory.

    python benchmarks/memory.py                    # 1 and 8 GB, library and validate_data; 20 GB of disk
    python benchmarks/memory.py --sizes 0.5,2 --without-stage

Every size is measured in a process of its own: its peak resident memory (VmHWM, files included) after
an epoch's batches are read, and as the stage `validate_data` ends. Time is that of an epoch from the
file against the same epoch from memory, in turn, at the smallest size.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from seam.data.images import LabelledImages, images_of
from seam.data.lazy import in_memory
from seam.data.prepared import ImageData, load_prepared, save_prepared
from seam.data.scratch import Scratch, together
from seam.networks.build import build
from seam.networks.source import Preprocess
from seam.training.batches import training_batches

SIDE, CLASSES = 224, 4
_IMAGE = SIDE * SIDE * 3
_TIMED = 1536
"""Images of a timed epoch."""


def main() -> None:
    """Measure all sizes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1,8", metavar="GB,GB", help="of the training images (default: 1,8)")
    parser.add_argument("--folder", type=Path, default=None, help="for the files (default: a temporary one)")
    parser.add_argument("--without-stage", action="store_true", help="leave out validate_data")
    parser.add_argument("--child", nargs=3, metavar=("WHAT", "FILE", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        what, file, folder = given.child
        print(json.dumps(CHILDREN[what](Path(file), Path(folder))))
        return
    sizes = [float(size) for size in given.sizes.split(",")]
    with tempfile.TemporaryDirectory(dir=given.folder) as scratch:
        rows = [_measured(size, Path(scratch), size == min(sizes), given.without_stage) for size in sizes]
    print("| training images | peak, an epoch's batches | peak, validate_data | epoch from the file / from memory |")
    print("|---|---|---|---|")
    for size, row in zip(sizes, rows, strict=True):
        stage = f"{row['validate_mb']:.0f} MB" if "validate_mb" in row else ""
        ratio = f"{row['ratio']:.3f}" if "ratio" in row else ""
        print(f"| {size:g} GB | {row['epoch_mb']:.0f} MB | {stage} | {ratio} |")


def _measured(size: float, folder: Path, timed: bool, without_stage: bool) -> dict[str, float]:
    raw, prepared = folder / "data.npz", folder / "dataset.safetensors"
    count = int(size * 1e9 / _IMAGE) // CLASSES * CLASSES
    _make(count, raw, prepared)
    found: dict[str, float] = _child("epoch", prepared, folder)
    if timed:
        found |= _child("ratio", prepared, folder)
    if not without_stage:
        found |= _child("validate", raw, folder)
    for file in (raw, prepared):
        file.unlink()
    return found


def _make(count: int, raw: Path, prepared: Path) -> None:
    """The same random images as a raw and as a prepared data set."""
    draw, scratch = np.random.default_rng(0), Scratch(raw.parent)
    sizes = [min(256, count - first) for first in range(0, count, 256)]
    x = scratch.put_all((draw.bytes(size * _IMAGE) for size in sizes), count, (SIDE, SIDE, 3))
    test = [scratch.put(draw.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)) for _ in range(400)]
    y, y_test = np.arange(count) % CLASSES, np.arange(400) % CLASSES
    data = ImageData(together(x), y, together(test), y_test, tuple("abcd"))
    save_prepared(data, prepared)
    images = np.memmap(prepared, np.uint8, "r", data_offset(prepared, "x_train"), (count, SIDE, SIDE, 3))
    np.savez(raw, x_train=images, y_train=y, x_test=data.x_test[:], y_test=y_test)


def data_offset(path: Path, name: str) -> int:
    """Where an array of a safetensors file begins."""
    with path.open("rb") as f:
        size = int.from_bytes(f.read(8), "little")
        return 8 + size + int(json.loads(f.read(size))[name]["data_offsets"][0])


def _child(what: str, file: Path, folder: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--child", what, str(file), str(folder)], check=True, stdout=subprocess.PIPE
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


def _epoch(file: Path, folder: Path) -> dict[str, float]:
    """All batches of an epoch, read and normalised."""
    data = load_prepared(file)
    train = images_of(data, "train", np.arange(len(data.y_train)))
    for images, _ in training_batches(train, Preprocess((0.5,) * 3, (0.25,) * 3), 64, "crop_flip", 0, 0):
        assert images.shape[0] <= 64
    return {"epoch_mb": _peak_mb()}


def _ratio(file: Path, folder: Path) -> dict[str, float]:
    """Time of a training epoch from the file over that from memory: the median of five, in turn."""
    torch.set_num_threads(1)
    data = load_prepared(file)
    stored = images_of(data, "train", np.arange(len(data.y_train)))
    some = LabelledImages(stored.images.select(torch.arange(_TIMED)), stored.labels[:_TIMED])  # type: ignore[union-attr]
    held = LabelledImages(in_memory(some.images), some.labels)
    network = build("resnet20", CLASSES).train()
    ratios = []
    for number in range(5):
        times = [_trained(network, images, number) for images in (some, held)]
        ratios.append(times[0] / times[1])
    return {"ratio": float(np.median(ratios))}


def _trained(network: nn.Module, data: LabelledImages, number: int) -> float:
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    begin = time.process_time()
    for step, (images, labels) in enumerate(
        training_batches(data, Preprocess((0.5,) * 3, (0.25,) * 3), 64, "crop_flip", 0, number)
    ):
        if step == 4:
            break
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()
    return time.process_time() - begin


def _validated(file: Path, folder: Path) -> dict[str, float]:
    """The stage `validate_data`, in a project of its own."""
    from tasks.project.params import parse_params
    from tasks.project.stage import StageContext, execute
    from tasks.validate_data import validate_data

    with tempfile.TemporaryDirectory(dir=folder) as project:
        params = parse_params({"data": {"kind": "npz", "path": str(file)}, "problems": {"a": ["a"]}}, "memory")
        execute(validate_data, StageContext("validate_data", params, Path(project)))
    return {"validate_mb": _peak_mb()}


CHILDREN = {"epoch": _epoch, "ratio": _ratio, "validate": _validated}

if __name__ == "__main__":
    main()
