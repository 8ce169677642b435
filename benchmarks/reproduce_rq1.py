"""SeaM's RQ1 and RQ2 (Tables I, II, IV, V, VI).

Direct reuse, binary problems of CIFAR-10 and superclasses of CIFAR-100.

All ten problems of CIFAR-10; some of them, twice; superclasses; whole channels, for engines that
compute zeros; ResNet18 at 224 pixels; local weights and data; docs/results.md from the cards there are:

    make reproduce-rq1
    make reproduce-rq1 ARGS="--problems airplane,ship --seeds 0,1"
    make reproduce-rq1 ARGS="--suite cifar100 --problems fish"
    make reproduce-rq1 ARGS="--suite cifar100-channels"
    make reproduce-rq1 ARGS="--suite flowers17-channels --set data.path=/path --set prepare_source.checkpoint=..."
    make reproduce-rq1 ARGS="--set prepare_source.checkpoint=/path/to/weights.safetensors --set data.path=/path"
    make reproduce-rq1 ARGS="--render"

Every (suite, seed) is a DVC project of its own under build/rq1/, with the stages of this project:
what is done is not done again, a killed run goes on. Times are taken last, one after the other.
Each problem's card goes to benchmarks/results/rq1/, and docs/results.md is made of all cards.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from projects import ROOT, make_project, one_line_errors, repro, shown, this_machine
from results_page import CARDS, render

from seam.data.formats.load import class_names, fetch
from seam.data.problem_sets import CIFAR100_SUPERCLASSES, every_class, superclass_problems
from seam.errors import ConfigError
from seam.files import read_json, write_json
from seam.inference.operators import operator_times
from seam.inference.variants import input_of
from tasks.project.change_params import add_problems, change_params
from tasks.project.params import Params, load_params
from tasks.project.stages import PROBLEM
from tasks.project.subject import StageRun, Subject

WORK = ROOT / "build" / "rq1"
SUITES = {
    "cifar10": ("rq1-cifar10",),
    "cifar100": ("rq1-cifar100",),
    "cifar10-channels": ("rq1-cifar10", "rq1-channels"),
    "cifar10-vgg16-channels": ("rq1-cifar10", "rq1-channels", "rq1-vgg16-channels"),
    "cifar100-channels": ("rq1-cifar100", "rq1-channels", "rq1-cifar100-channels"),
    "flowers17-channels": ("rq1-channels", "rq1-flowers17-channels"),
}
"""Suite, DATA or DATA-..., and its presets, over one another."""
FLOWERS = 5
"""Classes in a problem of flowers17."""
TIMED = ("source", "reengineered", "compacted")


def main() -> None:
    """Run what was asked for; exits with one line on bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", choices=SUITES, default="cifar10")
    parser.add_argument("--problems", default="all", metavar="A,B", help="names of problems (default: all)")
    parser.add_argument("--seeds", default="0", metavar="0,1", help="seeds (default: 0)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="a parameter, over the suite's presets",
    )
    parser.add_argument("--render", action="store_true", help="only render the cards there are")
    arguments = parser.parse_args()
    with one_line_errors():
        if not arguments.render:
            for seed in arguments.seeds.split(","):
                reproduce(arguments.suite, arguments.problems.split(","), int(seed), arguments.overrides)
        render()


def reproduce(suite: str, names: Sequence[str], seed: int, overrides: Sequence[str]) -> None:
    """Run the problems of one suite with one seed, and write their cards."""
    project = WORK / f"{suite}-seed{seed}"
    params, wanted = prepare(project, suite, names, seed, overrides)
    repro(project, params, [StageRun("evaluate", Subject(PROBLEM.name, name)) for name in wanted])
    # last: nothing else runs while times are taken
    repro(project, params, [StageRun("benchmark_latency", Subject(PROBLEM.name, name)) for name in wanted])
    for name in wanted:
        path = CARDS / f"{suite}-{name}-seed{seed}.json"
        write_json(path, card(project, params, suite, name))
        print(f"wrote {path}")


def prepare(
    project: Path, suite: str, names: Sequence[str], seed: int, overrides: Sequence[str]
) -> tuple[Params, list[str]]:
    """Make or update the project of one suite and seed; returns its parameters and the names of the problems to run."""
    data = suite.partition("-")[0]
    presets = [ROOT / "presets" / f"{name}.yaml" for name in SUITES[suite]]
    params = make_project(project, presets, [f"data.path={ROOT / 'data' / data}", f"seed={seed}", *overrides])
    fetch(params.data.kind, Path(params.data.path))
    classes = class_names(params.data.kind, Path(params.data.path))
    known = _problems(data, classes)
    wanted = list(known) if list(names) == ["all"] else list(names)
    for name in wanted:
        if name not in known:
            raise ConfigError(f"--problems {name}: expected problems of {suite}: {', '.join(known)}.")
    change_params(project / "params.yaml", [f"problems={{{wanted[0]}: {list(known[wanted[0]])}}}"])
    add_problems(project / "params.yaml", {name: known[name] for name in known if name != wanted[0]})
    return load_params(project / "params.yaml"), wanted


def _problems(data: str, classes: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Name -> classes.

    Each class against the rest, superclasses or, where neither is published, groups of neighbours.
    """
    match data:
        case "cifar10":
            return every_class(classes)
        case "cifar100":
            return superclass_problems(CIFAR100_SUPERCLASSES, classes)
        case _:
            starts = range(0, len(classes) - FLOWERS + 1, FLOWERS)
            return {f"{start + 1}to{start + FLOWERS}": classes[start : start + FLOWERS] for start in starts}


def card(project: Path, params: Params, suite: str, name: str) -> dict[str, Any]:
    """What one problem's stages measured, and how."""
    folder = project / "artifacts" / name
    evaluated, searched = read_json(folder / "evaluate" / "metrics.json"), read_json(folder / "search" / "metrics.json")
    source = read_json(project / "artifacts" / "prepare_source" / "source.json")
    latency = read_json(folder / "benchmark_latency" / "metrics.json")
    exported = read_json(folder / "benchmark_latency" / "export.json")
    chosen = params.register_model.model
    trained = ("standard_finetuned", "reengineered_finetuned") if params.finetune.epochs else ()
    models = {**{m: evaluated[m] for m in ("source", "reengineered", *trained)}, **evaluated["baselines"]}
    original, ours = evaluated["source"], evaluated[chosen]
    return {
        "suite": suite,
        "problem": name,
        "classes": list(params.problems[name]),
        "seed": params.seed,
        "network": {
            "architecture": shown(params.prepare_source.architecture),
            "checkpoint": shown(params.prepare_source.checkpoint or "trained here"),
        },
        "source_test_accuracy": source.get("test_accuracy"),
        "test_images": ours["num_images"],
        "model": chosen,
        "weights": {"original": original["params_total"], "reengineered": ours["params_nonzero"]},
        "macs": {
            "original": original["macs_dense"],
            "reengineered": ours["macs_nonzero"],
            "compacted": exported["compacted"]["macs_dense"],
        },
        "accuracy": {m: entry["accuracy"] for m, entry in models.items()},
        "int8": exported["int8"],
        "latency_ms_batch16": {engine: _medians(times) for engine, times in latency.items()},
        "operators_ms_batch16": _operators(folder / "benchmark_latency", params) if suite.endswith("-channels") else {},
        "seconds": {
            "search": searched["seconds"],
            "rounds": searched["rounds"],
            "threads": searched["threads"],
            "precision": searched["precision"],
        },
        "search": asdict(params.search),
        "channels": searched["channels"],
        "finetune": asdict(params.finetune),
        "evaluate": asdict(params.evaluate),
        "command": f"make reproduce-rq1 ARGS={shlex.quote(f'--suite {suite} --problems {name} --seeds {params.seed}')}",
        "machine": this_machine(),
        "warnings": [*searched["warnings"], *evaluated["warnings"]],
    }


def _operators(folder: Path, params: Params) -> dict[str, dict[str, float]]:
    """Where ONNX Runtime spends the time of the original and of the compacted model."""
    config, files = params.benchmark_latency, {name: folder / f"{name}.onnx" for name in ("source", "compacted")}
    return {
        name: operator_times(path, input_of(path), 16, config.num_threads, config.repeats, params.seed)
        for name, path in files.items()
    }


def _medians(times: Mapping[str, Any]) -> dict[str, float] | str:
    if "unavailable" in times:
        return f"unavailable: {times['unavailable']}"
    return {m: times[m]["batch16"]["latency_ms_p50"] for m in TIMED}


if __name__ == "__main__":
    main()
