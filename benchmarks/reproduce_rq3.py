"""SeaM's RQ3 (figures 6 to 8): which defects come along when a network is transferred to another data set.

The published sets, as their authors pack them; any image folder (train/CLASS/*, test/CLASS/*) or .npz;
one seed with local weights; those of the published sets that are in data/; docs/results.md from the
cards there are:

    make reproduce-rq3 ARGS="--data mit67=/path/to/mit67 --data cub200=/path/to/cub200"
    make reproduce-rq3 ARGS="--data flowers=/path/to/folder --image-size 96"
    make reproduce-rq3 ARGS="--data flowers=/path --set 'transfer.seeds=[0]' --set transfer.checkpoint=/path"
    make reproduce-rq3
    make reproduce-rq3 ARGS="--render"

Every target and preset is a DVC project of its own under build/rq3/, with the stages of this
project: what is done is not done again, a killed run goes on. Methods, seeds and settings are those
of presets/rq3.yaml, changed by --set. Each target's card and Pareto plot go to
benchmarks/results/rq3/, and docs/results.md is made of all cards. Few images: --preset rq3-few, with
a file of benchmarks/few_images.py. One training for all methods, without a choice: --preset
rq3-gentle, rq3-strong. SeaM's published settings:
--preset transfer-seam (needs a GPU).
"""

from __future__ import annotations

import argparse
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from projects import ROOT, make_project, one_line_errors, repro, shown, this_machine
from results_page import render
from results_rq3 import CARDS

from seam.data.formats.load import PUBLISHED
from seam.errors import ConfigError
from seam.files import read_json, write_json
from tasks.project.params import Params
from tasks.project.stages import TARGET
from tasks.project.subject import StageRun, Subject

WORK = ROOT / "build" / "rq3"
KEPT = ("classes", "num_train", "num_val", "num_test", "methods", "gates", "warnings")
"""Of comparison.json, in the card."""
ATTACK = (
    "attack",
    "share_poisoned",
    "eps_normalized",
    "step_normalized",
    "eps_pixel",
    "step_pixel",
    "steps",
    "clip",
    "share_values_beyond_eps",
)
"""Of attack.json, in the card."""


def main() -> None:
    """Run what was asked for; exits with one line on bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help=f"a target; {', '.join(PUBLISHED)}: in their own format",
    )
    parser.add_argument(
        "--image-size", type=int, default=224, metavar="PIXELS", help="side of the images (published: 224)"
    )
    parser.add_argument("--preset", default="rq3", metavar="NAME", help="settings: presets/NAME.yaml (default: rq3)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="a parameter, over the preset"
    )
    parser.add_argument("--render", action="store_true", help="only render the cards there are")
    arguments = parser.parse_args()
    with one_line_errors():
        if not arguments.render:
            for name, path in targets(arguments.data).items():
                reproduce(name, path, arguments.image_size, arguments.preset, arguments.overrides)
        render()


def targets(given: Sequence[str], found: Path = ROOT / "data") -> dict[str, Path]:
    """Name -> where its images are: those given, otherwise the published sets that lie in `found`.

    Raises:
        ConfigError: one is not NAME=PATH, or is not there, or there is none.
    """
    pairs = [text.partition("=")[::2] for text in given] or [
        (kind, str(found / kind)) for kind in PUBLISHED if (found / kind).is_dir()
    ]
    if not pairs:
        raise ConfigError(
            f"expected images to transfer to, got none: give --data NAME=PATH, or unpack one of {', '.join(PUBLISHED)}"
            " into data/."
        )
    for name, path in pairs:
        if not (name and path and Path(path).exists()):
            raise ConfigError(f"--data {name}={path}: expected NAME=PATH of a folder or an .npz file that is there.")
    return {name: Path(path).resolve() for name, path in pairs}


def reproduce(name: str, path: Path, image_size: int, preset: str, overrides: Sequence[str]) -> None:
    """Run one target, and write its card and its Pareto plot.

    Raises:
        ConfigError: no such preset, or a parameter that is not one.
        subprocess.CalledProcessError: a stage failed.
    """
    file = ROOT / "presets" / f"{preset}.yaml"
    if not file.is_file():
        raise ConfigError(f"--preset {preset}: expected the name of a file in presets/, got one that is not there.")
    kind = name if name in PUBLISHED else "npz" if path.suffix == ".npz" else "image_folder"
    own = f"{name}-{preset}"
    project = WORK / own
    params = make_project(
        project, [file], [f"targets={{{name}: {{kind: {kind}, path: '{path}', image_size: {image_size}}}}}", *overrides]
    )
    repro(project, params, [StageRun("compare_transfers", Subject(TARGET.name, name))])
    write_json(CARDS / f"{own}.json", card(project, params, name, preset, overrides))
    shutil.copyfile(project / "artifacts" / name / "compare_transfers" / "pareto.svg", CARDS / f"{own}.svg")
    print(f"wrote {CARDS / own}.json and .svg")


def card(project: Path, params: Params, name: str, preset: str, overrides: Sequence[str]) -> dict[str, Any]:
    """What one target's stages measured, and how."""
    folder, transfer = project / "artifacts" / name, params.transfer
    comparison, attack = (
        read_json(folder / stage / file)
        for stage, file in (("compare_transfers", "comparison.json"), ("attack_target", "attack.json"))
    )
    students = {
        student.folder: read_json(folder / "students" / student.folder / "metrics.json")
        for student in transfer.students
    }
    size = params.targets[name].image_size
    return {
        "target": name,
        "preset": preset,
        "image_size": size,
        **{key: comparison[key] for key in KEPT},
        "source": {"architecture": shown(transfer.architecture), "checkpoint": shown(transfer.checkpoint)},
        "seeds": list(transfer.seeds),
        "attack": {key: attack[key] for key in ATTACK if key in attack},
        "transfer": asdict(transfer.config),
        "whitebox_images": min(transfer.whitebox_images or comparison["num_test"], comparison["num_test"]),
        "seconds": {student: _cost(about) for student, about in students.items()},
        "command": f"make reproduce-rq3 ARGS={shlex.quote(_arguments(name, size, preset, overrides))}",
        "machine": this_machine(),
    }


def _arguments(name: str, size: int | None, preset: str, overrides: Sequence[str]) -> str:
    """Of the command, without where things lie on this machine."""
    settings = "".join(f" --set {shlex.quote(text)}" for text in overrides if "/" not in text)
    return f"--data {name}=PATH --image-size {size} --preset {preset}{settings}"


def _cost(about: Mapping[str, Any]) -> dict[str, Any]:
    return {key: about[key] for key in ("seconds", "rounds", "epochs", "passes", "best_epoch", "threads")}


if __name__ == "__main__":
    main()
