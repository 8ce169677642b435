"""One network by name, looked at, thinned at random, compacted and exported: a row of docs/networks.md.

    python benchmarks/one_network.py torchvision:resnet18 ROW.json

It has a process of its own: networks differ in what they need, and one that fails takes no other with it.
"""

from __future__ import annotations

import importlib.metadata
import re
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor, nn

from seam.compaction import compact
from seam.errors import SeamError
from seam.files import write_json
from seam.inference.export import export_onnx
from seam.masks.channels import ScoredChannels
from seam.masks.groups import ChannelGroups, channel_groups
from seam.masks.masks import apply_masks
from seam.masks.scores import masks_of
from seam.measures.check_up import check_up
from seam.measures.macs import count
from seam.measures.shipped import Claim, check_shipped
from seam.networks.build import build
from seam.networks.plain import plain

Row = dict[str, Any]
CLASSES, IMAGES = 10, 3
SIDES = range(64, 385, 16)
"""Sides of the images that are tried, in this order."""
_NOISE = 0.02
"""Of every parameter: layer scales near zero and unit norms would hide faults."""


def versions(network: str) -> dict[str, str]:
    """Of the libraries that a row depends on."""
    library = network.partition(":")[0]
    return {name: importlib.metadata.version(name) for name in ("torch", library, "onnx", "onnxruntime")}


def examined(name: str) -> Row:
    """What becomes of a network with random weights, half of whose channels go at random.

    Args:
        name: as `seam.networks.build.build` takes it.

    Returns:
        Its figures; `lost` has a line on each thing that does not work.
    """
    torch.manual_seed(0)
    network = build(name, CLASSES)
    row: Row = {"params": sum(p.numel() for p in network.parameters()), "lost": []}
    side, refusal = _side(network.eval())
    if side is None:
        return row | {"lost": [refusal]}
    row["side"] = side
    _disturb(network, side)
    images = torch.randn(IMAGES, 3, side, side)
    findings = check_up(network, images, CLASSES)
    row["doubts"] = [f.found for f in findings if f.verdict == "doubt"]
    row["lost"] += [f"check-up: {f.found}" for f in findings if f.verdict == "stop"]
    try:
        row["plain"] = len(plain(network, images))
        _thin(network, images, row)
    except SeamError as e:
        row["lost"].append(re.sub(rf"{tempfile.gettempdir()}/seam-\w+/", "", str(e)))
    return row


@torch.no_grad()
def _side(network: nn.Module) -> tuple[int | None, str]:
    """The least side that it takes, and what it says of others."""
    said = "none of the sizes tried"
    for side in SIDES:
        try:
            network(torch.zeros(1, 3, side, side))
        except Exception as e:  # whatever the network's own code raises
            said = said if str(e) in said else f"{type(e).__name__}: {' '.join(str(e).split())[:160]}"
        else:
            return side, ""
    return None, said


@torch.no_grad()
def _disturb(network: nn.Module, side: int) -> None:
    """Noise on every parameter, and statistics of BatchNorm that fit."""
    for parameter in network.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=_NOISE)
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    network.train()(torch.randn(8, 3, side, side))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


@torch.no_grad()
def _thin(network: nn.Module, images: Tensor, row: Row) -> None:
    """Take half of the channels away, compact and export; the network's weights change."""
    whole = count(network, images)
    row["maskable"] = whole.params_maskable / whole.params_total
    groups = channel_groups(network, images)
    row["channels"] = sum(len(ids) for ids in groups.outputs.values())
    row["channels_free"] = sum(int((ids >= 0).sum()) for ids in groups.outputs.values())
    _mask_half(network, groups)
    smaller = compact(network, images)
    left = count(smaller.module, images)
    row["params_left"], row["macs_left"] = left.params_total / whole.params_total, left.macs_dense / whole.macs_dense
    reasons = Counter(re.sub(r"_\d+", "", why) for why in smaller.kept.values())
    row["kept"] = dict(reasons.most_common())
    if "" in smaller.kept:
        row["lost"].append(f"compaction: {smaller.kept['']}")
    expected, got = network(images), smaller.module(images)
    row["difference_torch"] = _difference(got, expected)
    with tempfile.TemporaryDirectory(prefix="seam-") as folder:
        export_onnx(smaller.module, images, path := Path(folder) / "network.onnx")
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        found = session.run(None, {"input": images.numpy()})[0]
        row["difference_onnxruntime"] = _difference(torch.from_numpy(found), expected)
        check_shipped(path, smaller.module, images, Claim(asdict(left)))
    row["file_counted"] = True


def _mask_half(network: nn.Module, groups: ChannelGroups) -> None:
    """Zero half of the groups of channels, and half of the filters of channels that cannot go, at random.

    But for those of the last layer.
    """
    scored = ScoredChannels(network, groups)
    scored.scores.copy_(torch.rand(groups.number))
    scored.keep_above(0.5)
    masks = masks_of(scored)
    stuck = [name for name, ids in groups.outputs.items() if bool((ids < 0).any())]
    for name in stuck[:-1]:
        ids = groups.outputs[name]
        gone = (ids < 0) & (torch.rand(len(ids)) < 0.5)
        gone[0] &= not bool(gone.all())  # without a whole layer the network may be a constant
        weight = groups.weight_of(name)
        if name not in groups.transposed:
            masks[weight][gone] = False
            if (bias := f"{weight.removesuffix('weight')}bias") in masks:
                masks[bias][gone] = False
    apply_masks(network, masks)


def _difference(got: Tensor, expected: Tensor) -> float:
    """The largest, relative to the largest expected value."""
    return float((got - expected).abs().max() / expected.abs().max())


def write_row(network: str, path: Path, memory_gb: float) -> None:
    """Write the row of one network, or of what it was that it failed; limits this process's memory."""
    resource.setrlimit(resource.RLIMIT_DATA, (int(memory_gb * 2**30),) * 2)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    started = time.process_time()
    try:
        row = examined(network)
    except Exception as e:  # the row says what failed, whatever it is
        row = {"lost": [f"{type(e).__name__}: {' '.join(str(e).split())[:200]}"]}
    row |= {"cpu_seconds": round(time.process_time() - started, 1), "versions": versions(network)}
    row["peak_gb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 1)
    write_json(path, row)


if __name__ == "__main__":
    write_row(sys.argv[1], Path(sys.argv[2]), memory_gb=14.0)
