"""What is claimed of a network is what its exported file has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from seam.errors import ExportError
from seam.inference.counted import Looks, count_file, looks
from seam.inference.export import export_onnx
from seam.masks.masks import counted
from seam.measures.macs import Work, sizes, work
from seam.networks.products import Product

_LOST = 0.05
"""Of a weight that is computed from others: the share of it that may be other than zero where those are
zero (an identity that is added) and still counts as keeping their zeros."""


@dataclass(frozen=True)
class Claim:
    """What is said of a network."""

    counts: Mapping[str, Any]
    """Under the names of `seam.measures.macs.Counts`; those that are there are compared."""
    where: str = "its count"
    """Who says so, in words."""
    remedy: str = (
        "it computes its weights, or multiplies in a way that is not counted; give a network whose layers hold their"
        " weights, and report this one"
    )
    """What to do where it is not so, in words."""


def ship(
    network: nn.Module, example_input: Float[Tensor, "batch channels height width"], path: Path, claim: Claim
) -> float:
    """Write a network as ONNX; the file takes its name only if it computes and has what is said of it.

    Args:
        network: without its preprocessing; it is not changed.
        example_input: normalised images; only their shape is used.
        path: of the file; what is there stays unless the new one is good.
        claim: what is said of the network.

    Returns:
        Largest absolute difference from torch over seeded random inputs.

    Raises:
        ExportError: see `export_onnx` and `check_shipped`.
    """
    return export_onnx(
        network, example_input, path, accept=lambda file: check_shipped(file, network, example_input, claim)
    )


def check_shipped(
    path: Path, network: nn.Module, example_input: Float[Tensor, "batch channels height width"], claim: Claim
) -> None:
    """Compare what is said of a network with what was exported of it.

    The weights, non-zero weights and multiply-adds of convolutions, matrix products and recurrent
    layers have to be those of the file. What export folds is no difference: BatchNorm in a
    convolution, constants; nor is a tensor that is used in several places and stored once or in
    each, or a result that nothing needs and the file leaves out. Where a file cannot be counted
    (`seam.inference.counted`), nothing is compared.

    Args:
        path: of the ONNX file, float32.
        network: that was exported, without its preprocessing; it is not touched.
        example_input: normalised images; only their shape is used.
        claim: what is said of it.

    Raises:
        ExportError: the file has something else.
    """
    found = count_file(path)
    if found is None:
        return
    image = torch.rand((1, *example_input.shape[1:]), generator=torch.Generator().manual_seed(0))
    done = work(network, image)  # of an image like those that are exported with, which take the same branches
    folds_zeros = any(
        not bool(m.weight.all()) for m in network.modules() if isinstance(m, _BatchNorm) and m.weight is not None
    )
    stored = _stored(network, done.products, folds_zeros)
    multiplied = _multiplied(done, folds_zeros)
    total, nonzero = sizes(counted(network))
    for name, words, has, within in (
        ("params_total", "weights", found.weights, stored[0].less(total)),
        ("params_nonzero", "non-zero weights", found.weights_nonzero, stored[1].less(nonzero)),
        ("macs_dense", "multiply-adds", found.macs_dense, multiplied[0]),
        ("macs_nonzero", "multiply-adds without zeros", found.macs_nonzero, multiplied[1]),
    ):
        said = claim.counts.get(name)
        if said is None or (name.startswith("macs") and done.uncounted) or within.of(said).has(has):
            continue
        raise ExportError(
            f"{path.name}: expected {within.of(said)} {words} in its convolutions and matrix products, as {claim.where}"
            f" says {said:,} of {type(network).__name__} in all, got {has:,}; {claim.remedy}."
        )


@dataclass(frozen=True)
class _Range:
    fewest: int
    most: int

    def of(self, claimed: int) -> _Range:
        """What a file may have where this many are claimed of the network."""
        return _Range(max(self.fewest + claimed, 0), max(self.most + claimed, 0))

    def less(self, known: int) -> _Range:
        """Relative to a number that is known of the network."""
        return _Range(self.fewest - known, self.most - known)

    def has(self, number: int) -> bool:
        return self.fewest <= number <= self.most

    def __str__(self) -> str:
        return f"{self.most:,}" if self.fewest == self.most else f"{self.fewest:,} to {self.most:,}"


def _stored(network: nn.Module, products: Sequence[Product], folds_zeros: bool) -> tuple[_Range, _Range]:
    """How many weights the file may have, and how many that are not zero."""
    parameters, norms = dict(network.named_parameters()), [m for m in network.modules() if isinstance(m, _BatchNorm)]
    fewest: dict[Any, tuple[int, int]] = {}
    placed: dict[Any, tuple[int, int]] = {}
    for number, product in enumerate(products):
        if product.is_constant:  # what is made of it may be a weight of the file, or either of its factors
            placed[number] = _summed(_size(factor) for factor in product.factors)
        elif product.weight is not None:
            size, seen = (product.weight.numel(), _kept(product, parameters)), _looks(product.weight)
            is_folded = product.operator == "convolution" and norms  # into copies of it, one a BatchNorm
            placed[number if is_folded else seen] = size
            if product.is_needed:
                fewest[seen[0] if folds_zeros else seen] = size
    low, high = _summed(fewest.values()), _summed(placed.values())
    return _Range(low[0], high[0]), _Range(0 if folds_zeros else low[1], high[1])


def _multiplied(done: Work, folds_zeros: bool) -> tuple[_Range, _Range]:
    """How many multiply-adds the file may have, less what is claimed: dense, and without zeros."""
    seen: set[Any] = set()
    dense = nonzero = done.others
    for product in done.products:
        same = (product.operator, *map(_looks, product.factors))
        if product.is_constant or not product.is_needed or same in seen:
            dense, nonzero = dense + product.macs, nonzero + product.macs_nonzero
        seen.add(same)
    most = -done.others
    return _Range(-dense, most), _Range(-(1 << 62) if folds_zeros else -nonzero, most)


def _looks(tensor: Tensor) -> Looks:
    return looks(tensor.detach().cpu().numpy())


def _size(tensor: Tensor) -> tuple[int, int]:
    return sizes([tensor])


def _summed(pairs: Any) -> tuple[int, int]:
    found = list(pairs)
    return sum(size for size, _ in found), sum(nonzero for _, nonzero in found)


def _kept(product: Product, parameters: Mapping[str, Tensor]) -> int:
    """The weights that are not zero, where those that they are computed from are not: others are claimed to be zero."""
    assert product.weight is not None
    size, nonzero = _size(product.weight)
    whole, kept = sizes(parameters[name] for name in product.origins if parameters[name].ndim > 1)
    return kept if size <= whole and nonzero > kept + _LOST * size else nonzero
