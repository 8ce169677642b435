"""A source where no trained one is at hand: for the reproductions, and the one that comes with the default data.

Trained on small images first, on full-sized ones last.

    python benchmarks/train_source.py --data data/flowers17 --output build/flowers17_resnet18.safetensors

For networks that pool over any image size. Every `--plan` entry is SIDE:EPOCHS:PEAK_RATE (SGD,
cosine to 0); most of the learning happens where an image costs least. The validation images that
the pipeline takes from train, or that the data has, are left out: `split_dataset.val_from: train`.
Prints the accuracy on val after every entry and, at the end, on test, with the normalisation.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import nn

from seam.configs.data import SplitConfig, kind_of_path
from seam.configs.networks import SourceConfig
from seam.configs.runtime import RuntimeConfig
from seam.configs.training import Augment
from seam.data.formats.load import load_raw
from seam.data.images import LabelledImages, images_of
from seam.data.prepared import ImageData
from seam.data.splits import split_data
from seam.data.statistics import channel_statistics
from seam.networks.build import build
from seam.networks.predict import accuracy, predict
from seam.networks.source import Preprocess, per_channel
from seam.networks.state_dicts import save_weights
from seam.runtime import Runtime, start
from seam.training.finetune import train_from_scratch
from tasks.inputs.manifest import assemble

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    """Train, save, print one JSON object."""
    arguments = _parsed()
    torch.manual_seed(0)
    network: nn.Module | None = None
    for side, epochs, rate in (entry.split(":") for entry in arguments.plan.split(",")):
        runtime = start(RuntimeConfig(threads=arguments.threads), int(side) ** 2)
        data = _data(arguments.data, int(side))
        split = split_data(data, SplitConfig(val_fraction=arguments.val_fraction), seed=0, seen=False)
        train, val = images_of(data, "train", split.train), images_of(data, split.val_split, split.val)
        normalisation = _normalisation(data) if arguments.own_normalisation else (MEAN, STD)
        preprocess = Preprocess(*normalisation)
        network = network or build(arguments.architecture, len(data.classes))
        config = SourceConfig(
            epochs=int(epochs), lr=float(rate), batch_size=arguments.batch_size, augment=arguments.augment
        )
        history = train_from_scratch(
            network, preprocess, train, val, config, runtime, seed=0, on_epoch=lambda e: print(e, flush=True)
        )
        print(f"side {side}: accuracy {history[-1].val_accuracy:.3f} on val", flush=True)
    assert network is not None
    save_weights(network, arguments.output)
    test_accuracy = _accuracy(network, images_of(data, "test", split.test), preprocess, runtime)
    about = dict(zip(("mean", "std"), normalisation, strict=True))
    print(json.dumps({"output": arguments.output.name, "test_accuracy": test_accuracy, **about}))


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="image folder: train/CLASS/*, test/CLASS/*, perhaps val/CLASS/*; or a .npz or .safetensors file",
    )
    parser.add_argument("--output", type=Path, required=True, help="a .safetensors file")
    parser.add_argument("--architecture", default="torchvision:resnet18")
    parser.add_argument("--plan", default="64:50:0.1,112:20:0.05,224:8:0.02", metavar="SIDE:EPOCHS:RATE,...")
    parser.add_argument("--val-fraction", type=float, default=0.2, help="as split_dataset.val_fraction")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--augment", choices=get_args(Augment), default="crop_flip")
    parser.add_argument("--own-normalisation", action="store_true", help="of the training images, not ImageNet's")
    parser.add_argument("--threads", type=int, default=0)
    return parser.parse_args()


def _data(path: Path, side: int) -> ImageData:
    """All images, of `side` pixels."""
    return assemble(load_raw(kind_of_path(path), path, side))


def _normalisation(data: ImageData) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of the training images, three channels each: the network takes grey ones as three equal ones."""
    mean, std = (np.round(values, 6).tolist() for values in channel_statistics(data.x_train))
    return per_channel(mean, 3), per_channel(std, 3)


def _accuracy(network: nn.Module, data: LabelledImages, preprocess: Preprocess, runtime: Runtime) -> float:
    on_device = data.to(runtime.device)
    return accuracy(predict(network, on_device, preprocess.to(runtime.device), 64), on_device.labels)


if __name__ == "__main__":
    main()
