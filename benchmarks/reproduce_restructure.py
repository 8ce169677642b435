"""DeepArc's claims: parts retrained against all weights, and channels after blocks against channels alone.

    make reproduce-restructure ARGS="--seeds 0,1,2 --eps 0.1"
    make reproduce-restructure ARGS="--data cifar10.npz --source FOLDER --images 10000"
    make reproduce-restructure ARGS="--render"

On the embedded digits and the source of `seam run` (or `dvc pull`), a few minutes on one core; on another npz file
and a folder with source.safetensors and source.json. Each seed draws the images; its card goes to
benchmarks/results/restructure/, and docs/results.md is made of all cards. Seconds are of the CPU, on one thread.
Blocks and epochs are chosen on val, which comes out of the training images; test images are read once, at the end.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from projects import ROOT, one_line_errors
from results_page import render
from results_restructure import CARDS
from torch import Tensor, nn

import seam
from seam.compaction.blocks import without_blocks
from seam.configs.methods import PartlyConfig, RestructureConfig
from seam.configs.runtime import RuntimeConfig
from seam.configs.search import SearchConfig
from seam.data.images import LabelledImages
from seam.defects.signed_steps import attacked
from seam.door.reengineer import TRAINING
from seam.files import write_json
from seam.hardware import describe
from seam.methods.deeparc import choose, needing, segments, with_attacked
from seam.methods.protocol import Target
from seam.methods.restructuring import Change, Ways, beside, within_share
from seam.networks.predict import accuracy, predict
from seam.networks.source import Preprocess, Source, load_source
from seam.runtime import Runtime, start

AIMS = {
    "compress": RestructureConfig(images=1024, blocks=2, threshold=0.8, linkage="single", controls=False),
    "adversarial": RestructureConfig(aim="adversarial", images=1024, controls=False),
}
KEPT_CLASSES = ["0", "1", "2", "3", "4"]
SEARCH = SearchConfig(method="one_pass", structure="channels", cost="macs", target=0.5, accuracy_floor=0.0)
TEST = 2000
VAL_SHARE = 0.2


def main() -> None:
    """Run what was asked for; exits with one line on bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "data/digits.npz", help="x_train, y_train, x_test, y_test")
    parser.add_argument("--source", type=Path, default=ROOT / "artifacts/prepare_source", help="see seam run")
    parser.add_argument("--images", type=int, default=10_000, help="to train on and to choose on, at most")
    parser.add_argument("--epochs", type=int, default=20, help="of every training")
    parser.add_argument("--eps", type=float, default=0.03, help="largest change of a pixel, of [0, 1]")
    parser.add_argument("--seeds", default="0", metavar="0,1")
    parser.add_argument("--render", action="store_true", help="only render the cards there are")
    arguments = parser.parse_args()
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
    source = load_source(arguments.source)
    runtime = start(RuntimeConfig(device="cpu", precision="fp32", threads=1), source.info.pixels)
    network = source.network.requires_grad_(False)
    target, test = _images(arguments, source, seed)
    card: dict[str, Any] = {
        "architecture": source.info.architecture,
        "data": arguments.data.stem,
        "seed": seed,
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
        made, card["aims"][aim] = retrained(network, target, test, config, runtime, seed)
        flat = made if aim == "compress" else flat
        print(aim, card["aims"][aim], flush=True)
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


def _images(arguments: argparse.Namespace, source: Source, seed: int) -> tuple[Target, LabelledImages]:
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

    train, val = of("train", rows[num_val:]), of("train", rows[:num_val])
    return Target(train, val, source.preprocess(), source.info.num_classes), of("test", tested)


def _right(network: nn.Module, data: LabelledImages, target: Target) -> float:
    return accuracy(predict(network, data, target.preprocess), data.labels)


if __name__ == "__main__":
    main()
