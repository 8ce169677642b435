"""A source for the reproductions where no trained one is at hand.

Trained on small images first, on full-sized ones last.

    python benchmarks/train_source.py --data data/flowers17 --output build/flowers17_resnet18.safetensors

For networks that pool over any image size. Every `--plan` entry is SIDE:EPOCHS:PEAK_RATE (SGD,
cosine to 0); most of the learning happens where an image costs least. The validation images that
the pipeline takes from train, or that the data has, are left out: `split_dataset.val_from: train`.
Prints the accuracy on val after every entry and, at the end, on test.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from torch import nn

from seam.configs.data import SplitConfig
from seam.configs.networks import SourceConfig
from seam.configs.runtime import RuntimeConfig
from seam.data.formats.load import load_raw
from seam.data.images import LabelledImages, images_of
from seam.data.splits import split_data
from seam.networks.build import build
from seam.networks.predict import accuracy, predict
from seam.networks.source import Preprocess
from seam.networks.state_dicts import save_weights
from seam.runtime import Runtime, start
from seam.training.finetune import train_from_scratch
from tasks.inputs.manifest import assemble

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    """Train, save, print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="image folder: train/CLASS/*, test/CLASS/*, perhaps val/CLASS/*"
    )
    parser.add_argument("--output", type=Path, required=True, help="a .safetensors file")
    parser.add_argument("--architecture", default="torchvision:resnet18")
    parser.add_argument("--plan", default="64:50:0.1,112:20:0.05,224:8:0.02", metavar="SIDE:EPOCHS:RATE,...")
    parser.add_argument("--val-fraction", type=float, default=0.2, help="as split_dataset.val_fraction")
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    network: nn.Module | None = None
    for side, epochs, rate in (entry.split(":") for entry in arguments.plan.split(",")):
        runtime = start(RuntimeConfig(threads=arguments.threads), int(side) ** 2)
        train, val, test, classes = _splits(arguments.data, int(side), arguments.val_fraction)
        network = network or build(arguments.architecture, classes)
        config = SourceConfig(epochs=int(epochs), lr=float(rate), batch_size=32, augment="crop_flip")
        history = train_from_scratch(
            network, Preprocess(MEAN, STD), train, val, config, runtime, seed=0, on_epoch=lambda e: print(e, flush=True)
        )
        print(f"side {side}: accuracy {history[-1].val_accuracy:.3f} on val", flush=True)
    assert network is not None
    save_weights(network, arguments.output)
    print(json.dumps({"output": arguments.output.name, "test_accuracy": _accuracy(network, test, runtime)}))


def _splits(folder: Path, side: int, val_fraction: float) -> tuple[LabelledImages, LabelledImages, LabelledImages, int]:
    """Train, val and test images of `side` pixels, and the number of classes."""
    data = assemble(load_raw("image_folder", folder, side))
    split = split_data(data, SplitConfig(val_fraction=val_fraction), seed=0, seen=False)
    train, val = images_of(data, "train", split.train), images_of(data, split.val_split, split.val)
    return train, val, images_of(data, "test", split.test), len(data.classes)


def _accuracy(network: nn.Module, data: LabelledImages, runtime: Runtime) -> float:
    on_device = data.to(runtime.device)
    return accuracy(predict(network, on_device, Preprocess(MEAN, STD).to(runtime.device), 64), on_device.labels)


if __name__ == "__main__":
    main()
