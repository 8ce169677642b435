"""What the search costs and finds on one GPU, in at most 8 minutes: library only, own data made on the spot.

    make gpu-check                                  # or: python benchmarks/gpu_check.py [--output FILE.json]
    python benchmarks/gpu_check.py --small          # a minute on a CPU: does the script run?

Needs torch, torchvision, numpy and what `seam` itself imports; no pipeline. Measured, each as a
ratio within this run: a step of the search against a plain training step of the same network
(goal: at most 1.15), a round of ten binary problems together against the same one by one (goal: at
most 0.25), peak memory, and whether the search on the GPU finds what it finds on the CPU. Prints a
table, writes JSON. Without a GPU it runs on the CPU and says so.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from in_turn import InTurn, in_turn
from made_source import Lab, made_images, problem_of, trained_source
from plain_step import plain_step

from seam.configs.runtime import RuntimeConfig
from seam.configs.search import SearchConfig
from seam.networks.build import build
from seam.runtime import start
from seam.search.together import Together

STEP_GOAL, TOGETHER_GOAL = 1.15, 0.25


def step_ratio(lab: Lab, config: SearchConfig, batches: int, repeats: int) -> dict[str, Any]:
    """A step of the search against a plain one, the same batches, in turn."""
    search = lab.search(0, config)
    here = problem_of(0, lab.train, 0).to(lab.runtime.device)
    pieces = range(0, (batches - 1) * config.batch_size + 1, config.batch_size)
    wrapped = [torch.arange(i, i + config.batch_size, device=lab.runtime.device) % len(here) for i in pieces]
    inputs = [(lab.preprocess(here.images[rows]), here.labels[rows]) for rows in wrapped]
    step = plain_step(copy.deepcopy(lab.network), search.head_only, lab.runtime, config)
    search.loop.begin_round()

    def ours() -> None:
        for images, labels in inputs:
            search.loop.step(images, labels)

    def plain() -> None:
        for images, labels in inputs:
            step(images, labels)

    found = in_turn({"plain": plain, "search": ours}, repeats, warmup=2)
    step_ms = {f"{name}_step_ms": round(1000 * found.median(name) / batches, 3) for name in found.seconds}
    return {**found.ratio("search", "plain"), **step_ms, "batch_size": config.batch_size, **_memory(found)}


def together_ratio(lab: Lab, config: SearchConfig, problems: int, repeats: int) -> dict[str, Any]:
    """A round of several problems together against the same rounds one by one, evaluation included."""
    alone, joint = ([lab.search(i, config) for i in range(problems)] for _ in range(2))

    def one_by_one() -> None:
        for search in alone:
            search.loop.next_round()

    # the first round ranks the weights and warms up
    found = in_turn({"together": Together(joint).next_round, "one_by_one": one_by_one}, repeats)
    seconds = {name: round(found.median(name), 3) for name in found.seconds}
    return {**found.ratio("together", "one_by_one"), **seconds, "problems": problems, **_memory(found)}


def _memory(found: InTurn) -> dict[str, int]:
    return {f"peak_mib_{name}": mib for name, mib in found.peak_mib.items()}


def quality(labs: dict[str, Lab], config: SearchConfig, problems: int) -> dict[str, Any]:
    """What whole searches find on each device, in float32: val accuracy and density, a list each."""
    found: dict[str, Any] = {}
    for name, lab in labs.items():
        exact = Lab(lab.network, lab.train, lab.val, replace(lab.runtime, precision="fp32"))
        seconds = time.perf_counter()
        results = [exact.search(i, config).run() for i in range(problems)]
        found[name] = {
            "val_accuracy": [round(r.best.val_accuracy, 4) for r in results],
            "density": [round(r.best.density, 4) for r in results],
            "source_val_accuracy": [round(r.source_val_accuracy, 4) for r in results],
            "seconds": round(time.perf_counter() - seconds, 1),
        }
    return found


def measured(small: bool) -> Iterator[dict[str, Any]]:
    """Everything, on the GPU where there is one; a part of the results at a time."""
    begun = time.perf_counter()
    runtime = start(RuntimeConfig(), 32 * 32)
    on_gpu = runtime.device.type == "cuda"
    yield {
        "device": torch.cuda.get_device_name(0) if on_gpu else "CPU, no GPU here",
        "precision": runtime.precision,
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }
    (train, val), rounds = ((400, 200), 3) if small else ((10_000, 2000), 12)
    images = made_images(train, 16 if small else 32, 1), made_images(val, 16 if small else 32, 2)
    network = trained_source(*images, 1 if small else 12, runtime)
    lab = Lab(network, *images, runtime)
    config = SearchConfig(max_rounds=rounds, target=0.1, accuracy_floor=0.0, augment="crop")
    yield {"steps": {"ResNet20, 32 px, batch 64": step_ratio(lab, config, 2, 1)} if small else all_steps(lab, config)}
    yield {"together": together_ratio(lab, config, 3 if small else 10, 1 if small else 3)}
    labs = {runtime.device.type: lab}
    if on_gpu:
        labs["cpu"] = Lab(network, *images, start(RuntimeConfig(device="cpu"), 32 * 32))
    yield {"quality": quality(labs, config, 1 if small else 3)}
    yield {"seconds": round(time.perf_counter() - begun, 1)}


def all_steps(lab: Lab, config: SearchConfig) -> dict[str, Any]:
    """The ratio of steps for small and large batches and networks."""
    large = made_images(400, 224, 3), made_images(100, 224, 4)
    wide = Lab(build("torchvision:resnet50", 10).eval(), *large, lab.runtime)
    return {
        "ResNet20, 32 px, batch 64": step_ratio(lab, config, 60, 7),
        "ResNet20, 32 px, batch 64, norms frozen": step_ratio(lab, replace(config, norm_layers="frozen"), 60, 7),
        "ResNet20, 32 px, batch 512": step_ratio(lab, replace(config, batch_size=512), 30, 7),
        "ResNet50, 224 px, batch 64": step_ratio(wide, config, 10, 7),
    }


def of_steps(steps: dict[str, Any]) -> list[str]:
    """The table of steps."""
    rows = [f"{'search step / plain step (goal <= ' + str(STEP_GOAL) + ')':48} ratio   plain ms  search ms  MiB"]
    for name, row in steps.items():
        memory = f"{row.get('peak_mib_plain', '-')} -> {row.get('peak_mib_search', '-')}"
        times = f"{row['plain_step_ms']:9.2f}  {row['search_step_ms']:9.2f}"
        rows.append(f"  {name:46} {row['ratio']:5.2f}  {times}  {memory}")
    return rows


def of_together(joint: dict[str, Any]) -> list[str]:
    """The line of problems searched together."""
    seconds = f"{joint['together']:.2f} s against {joint['one_by_one']:.2f} s a round"
    memory = f"{joint.get('peak_mib_together', '-')} against {joint.get('peak_mib_one_by_one', '-')} MiB"
    text = f"{joint['problems']} binary problems together / one by one (goal <= {TOGETHER_GOAL}): {joint['ratio']:.2f}"
    return [f"{text} ({seconds}, {memory})"]


def of_quality(found: dict[str, Any]) -> list[str]:
    """What the searches found on each device."""
    rows = ["val accuracy and density found (float32, the same seeds)"]
    for name, row in found.items():
        mean, density = statistics.fmean(row["val_accuracy"]), statistics.fmean(row["density"])
        each = f"each {row['val_accuracy']}, the original {row['source_val_accuracy']}"
        rows.append(f"  {name:8} {mean:.4f} at density {density:.4f}, {row['seconds']:.0f} s; {each}")
    return rows


SHOWN: dict[str, Callable[[Any], list[str]]] = {"steps": of_steps, "together": of_together, "quality": of_quality}


def main() -> None:
    """Measure, print and write what is there so far."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("build/gpu_check.json"))
    parser.add_argument("--small", action="store_true", help="few and small images: only whether the script runs")
    arguments = parser.parse_args()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    for part in measured(arguments.small):
        found |= part
        arguments.output.write_text(json.dumps(found, indent=2) + "\n")
        for name, value in part.items():
            print(*(SHOWN[name](value) if name in SHOWN else [f"{name}: {value}"]), sep="\n", flush=True)
    print(f"JSON: {arguments.output}")


if __name__ == "__main__":
    main()
