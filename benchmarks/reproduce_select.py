"""How good `seam.select`'s ranking is: beside the accuracy that each network really has after it was transferred.

    make reproduce-select
    make reproduce-select ARGS="--data FOLDER"
    make reproduce-select ARGS="--render"

On the embedded digits (`dvc pull`): 8 sources, 5 problems, a few minutes on one core. With a folder that has
cifar10.npz, cifar100.npz, fashion_mnist.npz (x_train, y_train, x_test, y_test, classes), flowers17/ (train/ and test/,
a folder a class) and weights/ (cifar10_resnet20_shortcutA, cifar100_resnet20_widestem and imagenet_squeezenet1_1, as
safetensors): 9 sources, 7 problems, about 40 minutes. Sources differ in data, width and age. The truth is the accuracy
on test images after `seam.transfer` by standard fine-tuning, the same for all. A card (JSON) a problem goes to
benchmarks/results/select/; it grows a source at a time and is continued. Sources that are trained here are kept in
build/select/. Settings were chosen on the problems that are marked as pilots.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from projects import ROOT, one_line_errors, this_machine
from results_page import render
from results_select import CARDS
from select_lab import Form, digits_form, load_source, pictures_form, problem_images
from torch import nn

import seam
from seam.configs.methods import TransferConfig
from seam.configs.selection import SelectConfig
from seam.configs.training import StudentTraining
from seam.data.images import LabelledImages
from seam.data.lazy import joined
from seam.door.candidates import Candidate
from seam.errors import DataError
from seam.files import read_json, write_json
from seam.networks.predict import accuracy, predict

TRAINING = StudentTraining(
    epochs=15,
    lr=0.01,
    lr_head=0.01,
    momentum=0.9,
    schedule="cosine",
    head_start="fitted",
    batch_size=32,
    augment="crop",
)
"""Of the truth."""
SELECT = SelectConfig(milliseconds=False, attacked=0)


def main() -> None:
    """Run what was asked for; exits with one line on bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="pictures; without it the digits")
    parser.add_argument("--problems", metavar="A,B", help="some of the problems, as the card's names")
    parser.add_argument("--seeds", default="0", metavar="0,1")
    parser.add_argument("--render", action="store_true", help="only render the cards there are")
    arguments = parser.parse_args()
    with one_line_errors():
        if not arguments.render:
            torch.set_num_threads(1)
            form = digits_form() if arguments.data is None else pictures_form(arguments.data.absolute())
            for seed in map(int, arguments.seeds.split(",")):
                for problem in _wanted(form, arguments.problems):
                    _measure(form, problem, seed)
        render()


def _wanted(form: Form, asked: str | None) -> list[str]:
    """Names of problems: all, or those whose short names are asked for."""
    short = {_short(name): name for name in form.problems}
    if asked is None:
        return list(form.problems)
    if unknown := set(asked.split(",")) - set(short):
        raise DataError(f"--problems: expected some of {', '.join(short)}, got {', '.join(sorted(unknown))}")
    return [short[name] for name in asked.split(",")]


def _short(name: str) -> str:
    return name.lower().replace(",", "").replace(" ", "-")


def _measure(form: Form, name: str, seed: int) -> None:
    """The card of one problem."""
    path = CARDS / f"{form.name}-{_short(name)}-seed{seed}.json"
    problem = form.problems[name]
    parts = problem_images(form, problem, seed)
    card: dict[str, Any] = {
        "form": form.name,
        "problem": name,
        "pilot": problem.pilot,
        "seed": seed,
        "data": problem.data,
        "classes": int(parts[0].labels.max()) + 1,
        "images": dict(zip(("train", "val", "test"), map(len, parts), strict=True)),
        "side": form.side,
        "epochs": TRAINING.epochs,
        "sources": {},
    }
    if path.is_file():
        card["sources"] = read_json(path)["sources"]
    for source in form.sources:
        if source not in card["sources"]:
            card["sources"][source] = _one(form, source, parts, seed)
            write_json(path, {**card, "torch": torch.__version__, "machine": this_machine()})
            print(f"{name}: {source}: {card['sources'][source]['test']:.3f}", flush=True)


def _one(form: Form, name: str, parts: tuple[LabelledImages, LabelledImages, LabelledImages], seed: int) -> Any:
    """What is said of one source before, and what it reaches."""
    network, own = load_source(form, name, seed, ROOT / "build" / "select")
    mean, std = form.sources[name].normalisation
    train, val, test = parts
    few = joined([train.images, val.images]), torch.cat([train.labels, val.labels])
    begin = time.process_time()
    candidates: dict[str, nn.Module | Candidate] = {name: Candidate(load=lambda: network, mean=mean, std=std)}
    choice = seam.select(candidates, few, config=SELECT, seed=seed, progress=False).best
    estimated = time.process_time() - begin
    begin = time.process_time()
    made = seam.transfer(
        network,
        (train.images, train.labels),
        val=(val.images, val.labels),
        method="standard",
        mean=mean,
        std=std,
        config=TransferConfig(training=TRAINING),
        seed=seed,
        device="cpu",
        progress=False,
    )
    return {
        "data": form.sources[name].data,
        "test": accuracy(predict(made.network, test, made.preprocess), test.labels),
        "val": made.report.result.accuracy,
        "estimates": choice.estimates,
        "source_accuracy": own,
        "params_total": choice.params_total,
        "macs": choice.macs,
        "cpu_seconds": {"estimates": estimated, "transfer": time.process_time() - begin},
    }


if __name__ == "__main__":
    main()
