"""DeepArc's claims: parts retrained against all weights, and channels after blocks against channels alone.

    make reproduce-restructure ARGS="--seeds 0,1,2 --eps 0.1"
    make reproduce-restructure ARGS="--data cifar10.npz --source FOLDER --images 10000"
    make reproduce-restructure ARGS="--render"

On scikit-learn's digits, some minutes a seed on one core; or on another npz file. Each seed draws the images and trains
a source of its own on those that are not val, or takes a folder with source.safetensors and source.json; its card goes
to benchmarks/results/restructure/, and docs/results.md is made of all cards. Seconds are of the CPU, on one thread.
Blocks and epochs are chosen on val, which comes out of the training images; test images are read once, at the end. The
under-performing network of `repair` is another one, whose training ended after a few epochs.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from digits import digits
from projects import one_line_errors
from results_page import render
from results_restructure import CARDS
from torch import Tensor, nn

import seam
from seam.compaction.blocks import without_blocks
from seam.configs.methods import PartlyConfig, RestructureConfig
from seam.configs.networks import SourceConfig
from seam.configs.runtime import RuntimeConfig
from seam.configs.search import SearchConfig
from seam.data.images import LabelledImages
from seam.data.statistics import channel_statistics
from seam.defects.signed_steps import attacked
from seam.door.reengineer import TRAINING
from seam.files import write_json
from seam.hardware import describe
from seam.methods.deeparc import choose, needing, segments, with_attacked
from seam.methods.protocol import Target
from seam.methods.restructuring import Change, Ways, beside, within_share
from seam.networks.build import build
from seam.networks.predict import accuracy, predict
from seam.networks.source import Preprocess, Source, SourceInfo, channels_taken, load_source, per_channel
from seam.runtime import Runtime, start
from seam.training.finetune import train_from_scratch

AIMS = {
    "compress": RestructureConfig(images=1024, blocks=2, threshold=0.8, linkage="single", controls=False),
    "adversarial": RestructureConfig(aim="adversarial", images=1024, controls=False),
    "repair": RestructureConfig(aim="repair", images=1024, controls=False),
}
KEPT_CLASSES = ["0", "1", "2", "3", "4"]
SEARCH = SearchConfig(method="one_pass", structure="channels", cost="macs", target=0.5, accuracy_floor=0.0)
TEST = 2000
VAL_SHARE = 0.2


def main() -> None:
    """Run what was asked for; exits with one line on bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="x_train, y_train, x_test, y_test; default: the digits")
    parser.add_argument(
        "--source", type=Path, help="a folder, as artifacts/prepare_source; none: a ResNet20 is trained"
    )
    parser.add_argument("--source-epochs", type=int, default=20, help="of that training")
    parser.add_argument("--weak-epochs", type=int, default=4, help="of the under-performing network")
    parser.add_argument("--images", type=int, default=10_000, help="to train on and to choose on, at most")
    parser.add_argument("--epochs", type=int, default=20, help="of every training")
    parser.add_argument("--eps", type=float, default=0.03, help="largest change of a pixel, of [0, 1]")
    parser.add_argument("--seeds", default="0", metavar="0,1")
    parser.add_argument("--render", action="store_true", help="only render the cards there are")
    arguments = parser.parse_args()
    arguments.data = arguments.data or digits()
    with one_line_errors():
        if not arguments.render:
            for seed in arguments.seeds.split(","):
                card = reproduce(arguments, int(seed))
                name = f"{card['data']}-{Path(card['architecture']).name.replace(':', '-')}-seed{seed}.json"
                write_json(CARDS / name, card)
                print(f"wrote {CARDS / name}")
        render()


def reproduce(arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    """The card of one seed."""
    train, val, test = _images(arguments, seed)
    runtime = start(RuntimeConfig(device="cpu", precision="fp32", threads=1), 1)
    given = None if arguments.source is None else load_source(arguments.source)
    source = given or _trained(train, val, arguments.source_epochs, runtime, seed)
    network = source.network.requires_grad_(False)
    target = Target(train, val, source.preprocess(), source.info.num_classes)
    card: dict[str, Any] = {
        "architecture": source.info.architecture,
        "data": arguments.data.stem,
        "seed": seed,
        "source_epochs": None if given else arguments.source_epochs,
        "weak_epochs": arguments.weak_epochs,
        "eps_pixel": arguments.eps,
        "images": {"train": len(target.train), "val": len(target.val), "test": len(test)},
        "source_test_accuracy": _right(network, test, target),
        "machine": describe(),
        "torch": torch.__version__,
        "training": asdict(PartlyConfig(epochs=arguments.epochs, augment="crop")),
        "aims": {},
    }
    flat: nn.Module = network
    for aim, settings in AIMS.items():
        training = PartlyConfig(epochs=arguments.epochs, augment="crop")
        config = replace(settings, eps_pixel=arguments.eps, training=training)
        of = network
        if aim == "repair":
            weak = _trained(train, val, arguments.weak_epochs, runtime, seed)
            of, target = weak.network, replace(target, preprocess=weak.preprocess())
        made, card["aims"][aim] = retrained(of, target, test, config, runtime, seed)
        flat = made if aim == "compress" else flat
        print(aim, card["aims"][aim], flush=True)
    target = replace(target, preprocess=source.preprocess())
    card["channels"] = {
        name: compressed(of, source, target, test, seed) for name, of in (("source", network), ("restructured", flat))
    }
    card["settings"] = {"aims": {aim: asdict(c) for aim, c in AIMS.items()}, "search": asdict(SEARCH)}
    card["settings"]["finetune"] = asdict(TRAINING)
    return card


def retrained(
    source: nn.Module, target: Target, test: LabelledImages, config: RestructureConfig, runtime: Runtime, seed: int
) -> tuple[nn.Module, dict[str, Any]]:
    """Parts against all weights: the same blocks, images, epochs and schedule, each at a rate of its own."""
    normalise = target.preprocess
    assert isinstance(normalise, Preprocess)
    tests = {"clean": test}
    if config.aim == "adversarial":
        target = with_attacked(source, target, config)
        fooling = attacked(source, test.images, test.labels, normalise, config.eps_pixel, config.attack_steps)
        tests["attacked"] = LabelledImages(fooling, test.labels)
    found = segments(source, target.train, normalise, config)
    removed = choose(source, found.redundant, target, config) if config.aim == "compress" else ()
    wanted = beside(found.chain, removed) if removed else needing(source, found, target, config)
    parts = within_share(without_blocks(source, removed), wanted, found.chain.head, config.trained_share)
    ways = Ways(source, found.chain, target, config, runtime, seed)
    result: dict[str, Any] = {
        "removed": list(removed),
        "untrained": {name: _right(without_blocks(source, removed), data, target) for name, data in tests.items()},
        "random_untrained_val": [c.val_accuracy_before for c in ways.controls(Change("", removed, (), 0, 0, 0))],
    }
    made = source
    for name, trained in (("parts", parts), ("all", ("",))):
        begin = time.process_time()
        network, change = ways.changed(name, removed, trained)
        result[name] = {
            "trained": list(change.trained),
            "trained_share": change.trained_share,
            "cpu_seconds": time.process_time() - begin,
            "val_before": change.val_accuracy_before,
            "test": {name: _right(network, data, target) for name, data in tests.items()},
        }
        made = network if name == "parts" else made
    return made, result


def compressed(network: nn.Module, source: Source, target: Target, test: LabelledImages, seed: int) -> dict[str, Any]:
    """Channels removed from a network for five of the classes: accuracy on test, and a call's milliseconds."""
    small = seam.reengineer(
        network,
        (target.train.images.numpy(), target.train.labels.numpy()),
        KEPT_CLASSES,
        val=(target.val.images.numpy(), target.val.labels.numpy()),
        mean=source.info.mean,
        std=source.info.std,
        search_config=SEARCH,
        training=TRAINING,
        seed=seed,
        device="cpu",
        progress=False,
    )
    rows = test.labels < len(KEPT_CLASSES)
    some = LabelledImages(test.images[rows], test.labels[rows])
    return {
        "test_accuracy": accuracy(predict(small.network, some, small.preprocess), some.labels),
        "num_test": len(some),
        "latency_ms_p50": small.report.result.latency_ms_p50,
        "latency_ms_p50_before": small.report.source.latency_ms_p50,
        "macs": small.report.result.macs,
        "conditions": small.report.conditions,
    }


def _trained(train: LabelledImages, val: LabelledImages, epochs: int, runtime: Runtime, seed: int) -> Source:
    """A ResNet20 that has not seen val, in eval mode."""
    images = train.images.numpy()
    mean, std = (np.round(values, 6).tolist() for values in channel_statistics(images))
    torch.manual_seed(seed)
    num_classes = int(train.labels.max()) + 1
    network = build("resnet20", num_classes)
    channels = channels_taken(network.eval(), images.shape[1:])
    info = SourceInfo(
        architecture="resnet20",
        num_classes=num_classes,
        mean=per_channel(mean, channels),
        std=per_channel(std, channels),
        image_shape=images.shape[1:],
        params_total=sum(p.numel() for p in network.parameters()),
        trained_here=True,
    )
    source = Source(network, info)
    train_from_scratch(
        network, source.preprocess(), train, val, SourceConfig(epochs=epochs, augment="crop"), runtime, seed
    )
    network.eval().requires_grad_(False)
    return source


def _images(arguments: argparse.Namespace, seed: int) -> tuple[LabelledImages, LabelledImages, LabelledImages]:
    """Train, val and test."""
    with np.load(arguments.data) as data:
        arrays = {name: data[name] for name in ("x_train", "y_train", "x_test", "y_test")}
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(arrays["y_train"]))[: arguments.images]
    num_val = round(VAL_SHARE * len(rows))
    tested = rng.permutation(len(arrays["y_test"]))[:TEST]

    def of(split: str, chosen: Any) -> LabelledImages:
        labels: Tensor = torch.from_numpy(arrays[f"y_{split}"][chosen].astype(np.int64))
        images = arrays[f"x_{split}"][chosen]
        return LabelledImages(torch.from_numpy(images if images.ndim == 4 else images[..., None]), labels)

    return of("train", rows[num_val:]), of("train", rows[:num_val]), of("test", tested)


def _right(network: nn.Module, data: LabelledImages, target: Target) -> float:
    return accuracy(predict(network, data, target.preprocess), data.labels)


if __name__ == "__main__":
    main()
