"""The section of docs/results.md about inherited defects (RQ3), from its result cards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from projects import ROOT

from seam.files import read_json
from seam.methods.catalogue import STUDENTS, YARDSTICK, find, names
from tasks.report.target import COLUMNS, cells
from tasks.report.target_figures import method_label
from tasks.report.trained import remarks, setting_cells, setting_words, were_chosen

CARDS = ROOT / "benchmarks" / "results" / "rq3"
Card = dict[str, Any]

INTRODUCTION = """## Which defects come along when a network is transferred (RQ3)

`make reproduce-rq3`. Students of one ImageNet network, by every method under one protocol; the attack is made
on the source alone, and never saw a student. [transfer.md](transfer.md) says how to read the columns.
*Inherited*: of the test images a student gets right, the share it gets wrong when attacked (DIR). Brackets:
paired 95% intervals over test images; \N{PLUS-MINUS SIGN}: standard deviation over seeds. Epochs are chosen on
validation images; the test images are read once.

The paper's means over its five data sets (accuracy / DIR, %): ResNet18: standard 80 / 79, ReMoS 74 / 40, SeaM 79 /
19; ResNet50: 85 / 66, 82 / 19, 84 / 14; ResNet18 with dropout, DIR: 44 / 20 / 12. Other networks and images than
here, 300 epochs, epochs chosen on test.
"""
READING = """\
What the runs below say. Two of them choose rate, schedule and head start of every student on val, from one list for all
methods (`rq3`, `rq3-few`; one seed each, so brackets are of test images alone); the others have one setting for all,
which is some method's worst. Read the first two.

- **flowers17, 1,020 training images: standard fine-tuning has 82.4% and inherits 23.6% of the defects; SeaM with 80%
  removed has 85.3% [-1.2, +6.8 points against standard] and 11.4%.** As accurate, with half of the defects. With 50%
  removed it is 80.9 / 7.6%, with 70% 83.8 / 15.1%, with 90% 79.4 / 5.6%.
- **Its mask is not what makes the difference there**: magnitude pruning at 80% has 80.3 / 9.9%, 5 points less accurate
  and as few defects. A random mask at 80% never trains (5.9%, chance).
- **cifar100_two, 240 images to learn from: SeaM gains nothing.** Standard fine-tuning 71.5 / 50.3%, SeaM at 80% 68.0 /
  21.3%, at 90% 70.5 / 22.7%; ReMoS 72.0 / 6.9% and magnitude pruning at 80% 75.5 / 10.6% are as accurate or more and
  inherit less. With 200 test images no accuracy differs beyond its interval; the defects do.
- *ReMoS trains*, now that a setting starts from a fresh classifier: 72.4 / 8.5% on flowers17 (3% removed), 10 points
  below standard fine-tuning. At 10% it falls to 45.9%.
- *What the rate does.* Standard fine-tuning inherits 66.1% at a gentle rate (`rq3-gentle`, 73.1% accurate, three seeds)
  and 22.8% at a stronger one (`rq3-strong`, 80.8%). SeaM at 80% has 81.3 / 12.8% at the gentle one: a gap of 8 points
  that was the rival's rate, not the method.
- *How much is removed decides.* At gentle rates, at 30 and 50% defects stay above half of standard fine-tuning's.
- *Removed weights grow again* (`removed_weights: regrow`, as published): SeaM's students at 80% end with 59 to 83% of
  their weights non-zero. They are smaller only where epoch 0 is kept, or with `zero`.
- *Passes over the images.* SeaM's student costs 40 of search and 40 a setting, standard fine-tuning 40 a setting.
"""

IMAGES = {
    "flowers17": (
        "Oxford 17 Category Flowers (Nilsback & Zisserman 2006), 60 images a class to learn from and 20 to test."
    ),
    "cifar100_nature": (
        "CIFAR-100's superclasses fish, flowers and aquatic mammals: the first 68 training images of each of their 15"
        " classes, and all of their test images, brought from 32 to 64 pixels."
    ),
    "cifar100_two": (
        "CIFAR-100's classes dolphin and shark: the first 120 training images of each, and all of their test images,"
        " brought from 32 to 64 pixels."
    ),
}
"""What the images of a target are, where its name does not say it."""


def section() -> str:
    """Every target's table, plot and conditions; empty where there is no card."""
    cards = [read_json(path) for path in sorted(CARDS.glob("*.json"))]
    return "\n".join([INTRODUCTION, READING, *(_target(card) for card in cards)]) if cards else ""


def _target(card: Card) -> str:
    name, source, size = card["target"], card["source"], card["image_size"]
    images = (
        f"{card['num_train']} images to train on, {card['num_val']} to choose on, {card['num_test']} to test on, {size}"
        f" x {size} pixels"
    )
    head = (
        f"### {name}, preset `{card['preset']}`: {len(card['classes'])} classes\n\n{source['architecture']}, weights"
        f" {source['checkpoint']}; {images}.\n"
    )
    methods = dict(
        sorted(
            _with_epochs(card).items(),
            key=lambda item: (names(STUDENTS).index(item[1]["base"]), item[1]["removal"] or 0),
        )
    )
    rows = [
        f"| {'; '.join([method_label(row), *remarks(row)])} | {' | '.join(cells(row))} |" for row in methods.values()
    ]
    table = "\n".join([f"| method | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|", *rows])
    plot = f"![Accuracy against inherited defects](../benchmarks/results/rq3/{name}-{card['preset']}.svg)"
    about = [f"{IMAGES[name]}\n"] if name in IMAGES else []
    return "\n".join(
        [head, *about, table, "", _verdict(methods), "", *_settings(methods), plot, "", _conditions(card), ""]
    )


def _with_epochs(card: Card) -> dict[str, dict[str, Any]]:
    """The rows of a card, those of older ones too, with the epochs that were kept."""
    costs = card["seconds"]
    return {
        name: {"best_epoch": [costs[f"{name}-seed{seed}"]["best_epoch"] for seed in row["seeds"]], **row}
        for name, row in card["methods"].items()
    }


def _settings(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What each setting gave on val, by method; nothing where there was nothing to choose."""
    if not were_chosen(rows):
        return []
    columns = [setting_words(setting) for setting in next(iter(rows.values()))["settings"]]
    lines = [
        f"| {method_label(row)} | {' | '.join(setting_cells(setting) for setting in row['settings'])} |"
        for row in rows.values()
    ]
    head = f"| accuracy on val | {' | '.join(columns)} |"
    return ["\n".join([head, "|---" * (len(columns) + 1) + "|", *lines]), ""]


def _verdict(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Whether SeaM keeps what the paper says of it, at each removal, in plain words."""
    standard = rows.get(YARDSTICK.name)
    if standard is None:
        return ""
    remos = [row for row in rows.values() if find(row["base"]).role == "rival"]
    controls = [row for row in rows.values() if row["base"] == "magnitude"]
    lines = []
    for row in (r for r in rows.values() if find(r["base"]).role == "ours"):
        lost = 100 * (standard["accuracy"]["mean"] - row["accuracy"]["mean"])
        claims = {
            "DIR at most half of standard's": _rate(row) <= _rate(standard) / 2,
            "accuracy at most 2 points below": lost <= 2,
            **{f"DIR below that of {method_label(other)}": _rate(row) < _rate(other) for other in remos},
            **{
                f"DIR below the {method_label(o)} control's": _rate(row) < _rate(o)
                for o in controls
                if o["removal"] == row["removal"]
            },
        }
        said = "; ".join(f"{claim}: {'yes' if kept else '**no**'}" for claim, kept in claims.items())
        lines.append(f"- {method_label(row)}: {said}.")
    return "\n".join(lines)


def _rate(row: Mapping[str, Any]) -> float:
    rate: float | None = row["defect_inheritance_rate"]["mean"]
    return float("inf") if rate is None else rate


def _conditions(card: Card) -> str:
    attack, machine, training, search = (
        card["attack"],
        card["machine"],
        card["transfer"]["training"],
        card["transfer"]["search"],
    )
    settings = card["transfer"].get("settings")
    how = f"the best of {len(settings)} settings on val" if settings else f"SGD {setting_words(training)}"
    learnt = f"{training['epochs']} epochs, {how}; removed weights: {training['removed_weights']}"
    hours = sum(cost["seconds"] for cost in card["seconds"].values()) / 3600
    threads = next(iter(card["seconds"].values()))["threads"]
    versions = ", ".join(f"{name} {v}" for name, v in machine["versions"].items())
    doubts = "".join(f"\n- {text}" for text in card["warnings"])
    return (
        f"{_defect(attack)}. Fine-tuning: {learnt}. Search: `{search['method']}`, {search['rounds']} rounds. Seeds"
        f" {', '.join(map(str, card['seeds']))}. All students together: {hours:.1f} h on {threads} thread(s). Machine:"
        f" {machine['cpu']}, {machine['cores']} cores, GPU: {machine['gpu'] or 'none'}; {versions}.\n\n   "
        f" {card['command']}\n" + (f"\nDoubts:\n{doubts}\n" if doubts else "")
    )


def _defect(attack: Mapping[str, Any]) -> str:
    """What the defects are shown with."""
    if "share_poisoned" in attack:
        return (
            f"Defect: {attack['attack']}, in {attack['share_poisoned']:.0%} of the images its source was fine-tuned on"
        )
    budget = f"eps {attack['eps_normalized']:g} normalised, {_pixels(attack['eps_pixel'])} of 255 in pixels"
    return f"Attack: {budget}; {attack['steps']} steps; clip {attack['clip']}"


def _pixels(per_channel: Sequence[float]) -> str:
    low, high = 255 * min(per_channel), 255 * max(per_channel)
    return f"{low:.1f}" if f"{low:.1f}" == f"{high:.1f}" else f"{low:.1f} to {high:.1f}"
