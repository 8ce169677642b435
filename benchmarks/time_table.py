"""How well a time table predicts: milliseconds of random layouts, predicted and measured in one run.

    python benchmarks/time_table.py [--engine onnxruntime] [--layouts 8] [--networks NAME:PIXELS,...] [--json FILE]

The weights are random (they do not change the cost). Of each network a table is measured; then other
random layouts, compacted as they would be deployed, are timed in turn with the whole network. Half of
them draw each unit's width from all of its widths, half from the lower half. Beside the table's
prediction, as a share of the whole network's time: the share of multiply-adds. With one thread, CPU
time counts.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seam.configs.inference import ProfileConfig
from seam.files import write_json
from seam.hardware import describe
from seam.masks.groups import channel_groups
from seam.masks.layout_costs import LayoutCosts, macs_costs
from seam.masks.widths import units_of
from seam.measures.macs import weight_macs
from seam.networks.build import build
from seam.search.profile import Narrowed, time_layouts, times_of
from seam.search.time_costs import time_costs

NETWORKS = "resnet20_a:32,vgg16_bn_cifar:32,torchvision:squeezenet1_1:96"
BLOCK, REPEATS = 16, 24


def drawn(narrowed: Narrowed, number: int) -> list[dict[str, int]]:
    """Random layouts, other ones than the table has."""
    draw = np.random.default_rng(1000)
    layouts = []
    for i in range(number):
        from_widths = [(u.name, (u.widths, u.widths[: len(u.widths) // 2 + 1])[i % 2]) for u in narrowed.units]
        layouts.append({name: int(draw.choice(widths)) for name, widths in from_widths})
    return layouts


def judged(name: str, pixels: int, config: ProfileConfig, number: int) -> dict[str, Any]:
    """One network's table, and its layouts predicted and measured, all as shares of the whole network's time."""
    torch.manual_seed(0)
    network, images = build(name, 10).eval(), torch.rand(2, 3, pixels, pixels)
    groups = channel_groups(network, images)
    each = weight_macs(network, images[:1])
    with tempfile.TemporaryDirectory() as folder:
        narrowed = Narrowed(network, images, groups, units_of(groups, BLOCK), Path(folder))
        started = time.perf_counter()
        table = time_layouts(narrowed, config, watch=lambda share, text: print(f"{name}: {text}", file=sys.stderr))
        seconds = time.perf_counter() - started
        layouts = drawn(narrowed, number)
        variants = {"whole": narrowed.variant("whole", {})} | {
            str(i): narrowed.variant(str(i), layout) for i, layout in enumerate(layouts)
        }
        measured = times_of(variants, narrowed.takes, config, REPEATS, seed=1)
    costs = time_costs(table, network, groups, narrowed.units, each)
    macs = macs_costs(network, groups, narrowed.units, each)
    rows = [
        {
            "measured": measured[str(i)]["ratio"],
            "predicted": round(share(costs, layout), 4),
            "macs": round(share(macs, layout), 4),
        }
        for i, layout in enumerate(layouts)
    ]
    errors = {kind: [abs(row[kind] / row["measured"] - 1) for row in rows] for kind in ("predicted", "macs")}
    return {
        "network": f"{name}, {pixels} px",
        "latency_ms_p50": round(table.latency_ms_p50, 3),
        "table_seconds": round(seconds, 1),
        "repeats": table.repeats,
        "widths": sum(len(unit.widths) - 1 for unit in narrowed.units),
        "layouts_in_table": len(table.timed),
        "mean_error": {kind: round(statistics.fmean(found), 4) for kind, found in errors.items()},
        "largest_error": {kind: round(max(found), 4) for kind, found in errors.items()},
        "layouts": rows,
    }


def share(costs: LayoutCosts, layout: dict[str, int]) -> float:
    """Of the whole network's cost."""
    return costs.of(layout) / costs.whole


def shown(found: dict[str, Any]) -> str:
    """A few lines of text."""
    lines = [
        f"{found['network']}: {found['latency_ms_p50']} ms, {found['widths']} widths, table of"
        f" {found['layouts_in_table']} layouts in {found['table_seconds']} s",
        "measured predicted    macs",
        *("".join(f"{row[kind]:8.3f} " for kind in row) for row in found["layouts"]),
        *(
            f"error {which}: " + ", ".join(f"{kind} {error:.1%}" for kind, error in found[f"{which}_error"].items())
            for which in ("mean", "largest")
        ),
    ]
    return "\n".join(lines)


def main() -> None:
    """Print a table a network, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="onnxruntime")
    parser.add_argument("--layouts", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each table, about")
    parser.add_argument("--networks", default=NETWORKS)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = ProfileConfig(engine=arguments.engine, seconds=arguments.seconds)
    found = []
    for network in arguments.networks.split(","):
        name, _, pixels = network.rpartition(":")
        found.append(judged(name, int(pixels), config, arguments.layouts))
        print(shown(found[-1]), flush=True)
    if arguments.json:
        about = {"engine": arguments.engine, "batch_size": config.batch_size, "num_threads": config.num_threads}
        load = [round(x, 1) for x in os.getloadavg()]
        write_json(arguments.json, {**about, "machine": describe(), "load_average": load, "networks": found})


if __name__ == "__main__":
    main()
