"""Every classification network of torchvision and a member of many families of timm: what can be removed from each.

    python benchmarks/network_families.py [NETWORK ...] [--jobs 1] [--minutes 10] [--memory-gb 14] [--again]

Each network is looked at in a process of its own, as benchmarks/one_network.py does. Its row goes into
benchmarks/results/networks/, and is kept by later runs as long as its libraries have the same
versions, unless `--again` is given; docs/networks.md is rendered at the end. timm's are passed over
where timm is not installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess
from pathlib import Path

import torchvision
from networks_page import CARDS, render
from one_network import Row, versions, write_row

from seam.files import read_json, write_json
from seam.hardware import describe

TIMM = (
    "vgg11 resnet18 resnext50_32x4d seresnet18 seresnet50 res2net50_26w_4s resnest14d skresnet18 resnetv2_50"
    " resnetv2_50x1_bit densenet121 dla34 dpn68 vovnet39a ese_vovnet19b_slim cspresnet50 selecsls42 hrnet_w18_small"
    " regnetx_002 regnety_002 repvgg_a0 inception_v3 inception_v4 xception41 legacy_xception mnasnet_small fbnetc_100"
    " mobilenetv2_050 mobilenetv3_small_050 efficientnet_b0 tf_efficientnetv2_b0 ghostnet_050 rexnet_100 lcnet_050"
    " tinynet_e mobileone_s0 starnet_s1 convnext_atto convnextv2_atto convmixer_768_32 inception_next_atto nfnet_l0"
    " eca_nfnet_l0 poolformer_s12 mixer_s32_224 gmlp_ti16_224 resmlp_12_224 vit_tiny_patch16_224"
    " deit_tiny_patch16_224 cait_xxs24_224 xcit_nano_12_p16_224 swin_tiny_patch4_window7_224 levit_128s"
    " mobilevit_xxs edgenext_xx_small pit_ti_224 pvt_v2_b0 twins_svt_small coat_tiny efficientformer_l1 fastvit_t8"
    " focalnet_tiny_srf"
)
"""A small member of each family."""


def all_networks() -> list[str]:
    """Names as `seam.networks.build.build` takes them, of the libraries that are installed."""
    names = [f"torchvision:{name}" for name in torchvision.models.list_models(module=torchvision.models)]
    return [*names, *(f"timm:{name}" for name in TIMM.split() if importlib.util.find_spec("timm"))]


def card_of(network: str, cards: Path = CARDS) -> Path:
    """The file that holds its row."""
    return cards / f"{network.partition(':')[0]}.json"


def rows(card: Path) -> dict[str, Row]:
    """Network -> its row."""
    return read_json(card)["networks"] if card.is_file() else {}


def waiting(networks: Sequence[str], again: bool = False, cards: Path = CARDS) -> list[str]:
    """Those without a row of today's versions; all of them if `again`."""
    return [n for n in networks if again or rows(card_of(n, cards)).get(n, {}).get("versions") != versions(n)]


def run(networks: Sequence[str], jobs: int, minutes: float, memory_gb: float, cards: Path = CARDS) -> None:
    """Look at each, `jobs` at a time, and write its row as soon as it is there."""
    context, todo, running = multiprocessing.get_context("fork"), list(networks), list[_Look]()
    with tempfile.TemporaryDirectory() as folder:
        while todo or running:
            while todo and len(running) < jobs:
                network = todo.pop(0)
                row = Path(folder) / f"{network.replace(':', '-')}.json"
                process = context.Process(target=_quietly, args=(network, row, memory_gb), daemon=True)
                process.start()
                running.append(_Look(network, row, process, time.monotonic() + 60 * minutes))
            wait([look.process.sentinel for look in running], timeout=1)
            for look in [r for r in running if not r.process.is_alive() or time.monotonic() > r.deadline]:
                running.remove(look)
                _keep(look, card_of(look.network, cards), minutes)
                print(f"{len(todo) + len(running)} left", flush=True)


@dataclass(frozen=True)
class _Look:
    """A process that looks at a network."""

    network: str
    row: Path
    process: ForkProcess
    deadline: float


def _quietly(network: str, row: Path, memory_gb: float) -> None:
    """Write its row; what the network, torch and ONNX Runtime print is dropped."""
    with Path(os.devnull).open("w") as nowhere:
        for stream in (1, 2):
            os.dup2(nowhere.fileno(), stream)
    write_row(network, row, memory_gb)


def _keep(look: _Look, card: Path, minutes: float) -> None:
    """Put a row on its card; of a process that did not end well, what became of it."""
    if look.process.is_alive():
        look.process.kill()
        row: Row = {"lost": [f"not finished within {minutes:g} minutes"], "versions": versions(look.network)}
    else:
        look.process.join()
        ended = f"its process ended with status {look.process.exitcode}"
        row = read_json(look.row) if look.row.is_file() else {"lost": [ended], "versions": versions(look.network)}
    found = dict(sorted({**rows(card), look.network: row}.items()))
    library = look.network.partition(":")[0]
    asked = [name for name in all_networks() if name.startswith(f"{library}:")]
    write_json(card, {"machine": describe(), "asked": asked, "networks": found})
    said = "; ".join(row["lost"]) or f"{row['channels_free']} of {row['channels']} channels"
    print(f"{look.network}: {said[:150]};", end=" ")


def main() -> None:
    """Rows of the networks that are asked for, then the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", help="as torchvision:resnet18; none: all")
    parser.add_argument("--jobs", type=int, default=1, help="networks at a time")
    parser.add_argument("--minutes", type=float, default=10.0, help="for each network")
    parser.add_argument("--memory-gb", type=float, default=14.0, help="for each network")
    parser.add_argument("--again", action="store_true", help="do not keep rows")
    arguments = parser.parse_args()
    networks = waiting(arguments.networks or all_networks(), arguments.again)
    try:
        run(networks, arguments.jobs, arguments.minutes, arguments.memory_gb)
    finally:
        render()


if __name__ == "__main__":
    main()
