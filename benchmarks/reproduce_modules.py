"""The claims about modules: composed, of weak sources, patched, of two sources, and beside re-engineering.

    make reproduce-modules
    make reproduce-modules ARGS="--data fashion_mnist=FILE.npz cifar10=FILE.npz --side 14"
    make reproduce-modules ARGS="--render"

On scikit-learn's digits, two architectures, a few minutes a card on one core; on other npz files of
x_train, y_train, x_test and y_test (uint8) 20 minutes for each seed of 14 x 14 pixels, four times as long for
28 x 28. A card for each data set, architecture and seed goes to benchmarks/results/modules/; with two data sets and
more, a card for tasks of classes mixed of both. Cards grow a claim at a time and are continued: what stands in one is
not computed again, and sources and modules are kept in build/modules/. Seconds are of the CPU, on one thread.
Everything is chosen on val, out of the training images; test images are read once, at the end of each claim.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any

import torch
from digits import digits
from modules_claims import CLAIMS, new_task
from modules_lab import Lab, Splits, read
from projects import ROOT, one_line_errors
from results_modules import CARDS
from results_page import render

from seam.errors import DataError
from seam.files import read_json, write_json
from seam.hardware import describe

ARCHITECTURES = {"digits": ("vgg", "resnet20")}
"""Of a data set; the narrow VGG alone where it takes long."""
EPOCHS = {"digits": 30}
DEFAULT_EPOCHS = 12


def main() -> None:
    """Run what was asked for; exits with one line on bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", metavar="NAME=FILE", help="default: the digits")
    parser.add_argument("--images", type=int, default=12_000, help="to train on and to choose on, at most, a data set")
    parser.add_argument("--side", type=int, help="pixels that images of larger sides are brought to")
    parser.add_argument("--architectures", metavar="A,B", help="vgg (32-64-128-128), or names of the library")
    parser.add_argument("--claims", default=",".join(CLAIMS), metavar="A,B", help=", ".join(CLAIMS))
    parser.add_argument("--seeds", default="0,1", metavar="0,1")
    parser.add_argument("--render", action="store_true", help="only render the cards there are")
    arguments = parser.parse_args()
    with one_line_errors():
        if not arguments.render:
            torch.set_num_threads(1)
            for seed in map(int, arguments.seeds.split(",")):
                _seed(arguments, seed)
        render()


def _seed(arguments: argparse.Namespace, seed: int) -> None:
    """All cards of one seed."""
    claims = arguments.claims.split(",")
    if unknown := set(claims) - set(CLAIMS):
        raise DataError(f"--claims: expected some of {', '.join(CLAIMS)}, got {', '.join(sorted(unknown))}")
    sets = [_read(entry, arguments, seed) for entry in arguments.data or [f"digits={digits()}"]]
    for images in sets:
        asked = arguments.architectures
        for architecture in asked.split(",") if asked else ARCHITECTURES.get(images.name, ("vgg",)):
            lab = _lab(architecture, images, seed)
            for claim in claims:
                _measure(lab, images, claim)
    if "new_task" in claims:
        for one, other in itertools.combinations(sets, 2):
            side = max(one.side, other.side)
            channels = max(one.train.images.shape[3], other.train.images.shape[3])
            _mixed(_lab("vgg", one, seed), one.sized(side, channels), other.sized(side, channels))


def _read(entry: str, arguments: argparse.Namespace, seed: int) -> Splits:
    name, _, path = entry.partition("=")
    if not path:
        raise DataError(f"--data: expected NAME=FILE.npz, got '{entry}'")
    images = read(name, Path(path), arguments.images, seed)
    larger = arguments.side is not None and images.side > arguments.side
    return images.sized(arguments.side, images.train.images.shape[3]) if larger else images


def _lab(architecture: str, images: Splits, seed: int) -> Lab:
    return Lab(architecture, EPOCHS.get(images.name, DEFAULT_EPOCHS), seed, ROOT / "build" / "modules")


def _measure(lab: Lab, images: Splits, claim: str) -> None:
    """One claim, where the card has it not."""
    _claim(lab, images, claim, lambda: CLAIMS[claim](lab, images))


def _mixed(lab: Lab, one: Splits, other: Splits) -> None:
    """The new task of two data sets."""
    _claim(lab, one.beside(other), "new_task", lambda: new_task(lab, one, other))


def _claim(lab: Lab, images: Splits, claim: str, measure: Any) -> None:
    path = CARDS / f"{images.name}-{lab.architecture}-seed{lab.seed}.json"
    card: dict[str, Any] = read_json(path) if path.is_file() else {}
    if claim in card.get("claims", {}):
        return
    about = {
        "data": images.name,
        "architecture": lab.architecture,
        "seed": lab.seed,
        "epochs": lab.epochs,
        "side": images.side,
        "images": images.counts(),
        "machine": describe(),
        "torch": torch.__version__,
    }
    card = about | {"claims": card.get("claims", {}) | {claim: measure()}}
    write_json(path, card)
    print(f"{path.name}: {claim} {card['claims'][claim]}", flush=True)


if __name__ == "__main__":
    main()
