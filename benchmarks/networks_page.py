"""docs/networks.md from the rows of benchmarks/network_families.py: which networks work, how far, and what does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from projects import ROOT

from seam.files import read_json, write_text
from tasks.report.markdown import table, wrapped

CARDS = ROOT / "benchmarks" / "results" / "networks"
PAGE = ROOT / "docs" / "networks.md"
Rows = Mapping[str, dict[str, Any]]
EXACT = 1e-4
"""Largest difference that is rounding, relative to the largest output: what an export is held to."""
_REASONS = 2
INTRODUCTION = """# Networks

What can be removed from well-known networks, and whether what is left computes the same. Every classification network
of torchvision, and a small member of many families of timm (`pip install 'seam[timm]'`), as `torchvision:NAME` and
`timm:NAME` in `prepare_source.architecture`; your own `nn.Module` is looked at in the same way by `seam check`
([own-network.md](own-network.md)) and by the functions of [library.md](library.md). Made by `make networks`, a process
a network; this page is rendered from `benchmarks/results/networks/`.

Weights are random, with noise on every parameter; there are 10 classes. Half of the channels are taken away at random,
those that cannot go keep their place as zeros, and the network is compacted, exported and run.

- **px**: side of the images: 64, or the least multiple of 16 that the network takes.
- **weights, M**: all parameters, in millions.
- **can be masked**: share of the weights, those of normalisation layers left out, that a mask of single weights
  reaches.
- **channels that can go**: output channels of convolutions and linear layers, those of attention among them, of all
  there are. The 10 scores cannot, so all but 10 is the most.
- **weights left**, **MACs left**: of the compacted network, in percent of the whole one's. Where all channels can go,
  half of them leave about a quarter: a weight stays if both the channel that it reads and the one that it makes do.
- **torch**, **ONNX**: largest difference between the compacted and the masked network, in torch and of the exported
  file in ONNX Runtime, relative to the largest output.
- **stays, and why**: the commonest reasons for channels that stay, each with the number of layers.

"""
_HEADER = ("network", "px", "weights, M", "can be masked, %", "channels that can go", "weights left, %", "MACs left, %")
_HEADER += ("torch", "ONNX", "stays, and why")
_TITLES = {"torchvision": "torchvision", "timm": "timm"}


def render(cards: Path = CARDS, page: Path = PAGE) -> None:
    """Write docs/networks.md."""
    found = {name: read_json(path) for name in _TITLES if (path := cards / f"{name}.json").is_file()}
    write_text(page, wrapped(text(found)))


def text(cards: Mapping[str, Mapping[str, Any]]) -> str:
    """The page.

    Args:
        cards: library -> its card.
    """
    return "\n".join([INTRODUCTION + _summary(cards), *(_section(name, card) for name, card in cards.items())])


def works(row: Mapping[str, Any]) -> bool:
    """Whether all went well, and what is left computes the same."""
    return not row["lost"] and max(row["difference_torch"], row["difference_onnxruntime"]) <= EXACT


def _summary(cards: Mapping[str, Mapping[str, Any]]) -> str:
    lines = []
    for name, card in cards.items():
        rows = card["networks"].values()
        whole = sum(works(row) for row in rows)
        all_go = sum(row.get("channels", 0) - row.get("channels_free", 0) == 10 for row in rows if works(row))
        counted = sum(row.get("file_counted", False) for row in rows)
        lines.append(
            f"- {name}: {whole} of {len(rows)} networks are thinned by channels, compacted and exported, and compute"
            f" the same; in {all_go} of them every channel but the scores can go. The files of {counted} were counted"
            " as well, and have the weights and multiply-adds that are claimed."
        )
    return "\n".join([*lines, ""])


def _section(name: str, card: Mapping[str, Any]) -> str:
    rows: Rows = {n.partition(":")[2]: row for n, row in sorted(card["networks"].items())}
    lost = [f"- `{n}`: {line}" for n, row in rows.items() for line in _losses(row)]
    parts = [f"## {_TITLES[name]}", "", table(_HEADER, [_row(n, row) for n, row in rows.items()]), ""]
    if lost:
        parts += ["What does not work, in the words that the user gets:", "", *lost, ""]
    left_out = [n.partition(":")[2] for n in card["asked"] if n not in card["networks"]]
    if left_out:
        parts += [f"Not looked at yet: {', '.join(left_out)}.", ""]
    doubts = Counter(n for n, row in rows.items() for _ in row.get("doubts", ()))
    if doubts:
        parts += ["Weights that no mask reaches (a doubt on the card):", ""]
        parts += [f"- `{n}`: {line}" for n in doubts for line in rows[n]["doubts"]] + [""]
    return "\n".join([*parts, _conditions(card)])


def _losses(row: Mapping[str, Any]) -> list[str]:
    """A line on each thing that does not work."""
    wrong = [
        f"the compacted network differs by {row[key]:.1e} in {where}"
        for key, where in (("difference_torch", "torch"), ("difference_onnxruntime", "ONNX Runtime"))
        if row.get(key, 0) > EXACT
    ]
    return [*row["lost"], *wrong]


def _row(name: str, row: Mapping[str, Any]) -> list[str]:
    def cell(key: str, form: str, factor: float = 1) -> str:
        return format(factor * row[key], form) if key in row else ""

    def exact(key: str) -> str:
        return "" if key not in row else f"**{row[key]:.0e}**" if row[key] > EXACT else f"{row[key]:.0e}"

    channels = f"{row['channels_free']:,} of {row['channels']:,}" if "channels" in row else ""
    why = "; ".join(f"{reason} ({number})" for reason, number in list(row.get("kept", {}).items())[:_REASONS])
    more = len(row.get("kept", {})) - _REASONS
    return [
        name if works(row) else f"{name} **(see below)**",
        cell("side", "d"),
        cell("params", ".1f", 1e-6),
        cell("maskable", ".1f", 100),
        channels,
        cell("params_left", ".0f", 100),
        cell("macs_left", ".0f", 100),
        exact("difference_torch"),
        exact("difference_onnxruntime"),
        why + (f"; {more} more" if more > 0 else ""),
    ]


def _conditions(card: Mapping[str, Any]) -> str:
    rows, machine = card["networks"].values(), card["machine"]
    versions = {f"{name} {version}" for row in rows for name, version in row["versions"].items()}
    seconds = sum(row.get("cpu_seconds", 0) for row in rows)
    peak = max((row.get("peak_gb", 0) for row in rows), default=0)
    return (
        f"{', '.join(sorted(versions))}; {machine['cpu']}, one thread. All {len(rows)} networks together:"
        f" {seconds / 60:.0f} minutes of CPU time; the largest took {peak:.1f} GB of memory.\n"
    )
