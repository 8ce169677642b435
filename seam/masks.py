"""Binary masks over a network's weights: which tensors have one, scores to mask, packing to one bit a weight."""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, Shaped
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from seam.errors import MaskError, SearchError
from seam.files import write_bytes

Masks = Mapping[str, Tensor]
"""Parameter name -> boolean tensor of its shape, True where the weight is kept."""

_FORMAT = "seam-mask-2"


def maskable(network: nn.Module) -> dict[str, nn.Parameter]:
    """Every weight and bias of convolutions, linear layers and attention, in the order of the modules.

    Source: SeaM's published code (convolutions and linear layers, biases included, BatchNorm not), *same*.

    Raises:
        SearchError: there is none.
    """
    owners = (_ConvNd, nn.Linear, nn.MultiheadAttention)
    found = {
        f"{prefix}.{name}" if prefix else name: parameter
        for prefix, module in network.named_modules()
        if isinstance(module, owners)
        for name, parameter in module.named_parameters(recurse=False)
    }
    if not found:
        raise SearchError(f"{type(network).__name__} has no convolution, linear or attention weights to mask; SeaM needs at least one.")
    return found


class ScoredWeights:
    """Frozen weights, each with a real score; the mask keeps the weights whose score is above `threshold`.

    All weights lie in one flat buffer, and so do the scores, the effective weights (weight * mask) and their gradient, so
    that a step costs three elementwise passes whatever the number of tensors.

    Source: SeaM section 3.1: scores start at 1, the threshold is 0; the gradient passes the binarisation unchanged but for
    a clamp to [-1, 1] (straight-through), *same* as the published code.
    """

    def __init__(self, network: nn.Module) -> None:
        """Take the weights of `network`, on its device; the network itself is not changed."""
        parameters = maskable(network)
        self._shapes = {name: p.shape for name, p in parameters.items()}
        self.weights: Float[Tensor, " weights"] = torch.cat([p.detach().reshape(-1) for p in parameters.values()])
        self.scores: Float[Tensor, " scores"] = torch.ones(self.num_scores, device=self.weights.device)
        self.scores.grad = torch.zeros_like(self.scores)
        self.threshold = 0.0
        self._effective = torch.empty_like(self.weights)
        self._gradient = torch.zeros_like(self.weights)
        self.effective = {name: view.requires_grad_() for name, view in self.split(self._effective.detach()).items()}
        """Parameter name -> weight * mask, a leaf tensor to run the network with."""
        for view, gradient in zip(self.effective.values(), self.split(self._gradient).values(), strict=True):
            view.grad = gradient
        self.refresh()

    def __len__(self) -> int:
        return self.weights.numel()

    @property
    def num_scores(self) -> int:
        """One for each weight."""
        return len(self)

    @property
    def flat(self) -> Float[Tensor, " weights"]:
        """The effective weights, all in one: weight * mask, as `refresh` left them."""
        return self._effective

    @property
    def gradient(self) -> Float[Tensor, " weights"]:
        """Of the loss with respect to the effective weights, as the last backward pass left it."""
        return self._gradient

    def spread(self, values: Mapping[str, float]) -> Float[Tensor, " weights"]:
        """One value a tensor, repeated for each of its weights; 0 for a tensor that is not in `values`."""
        pieces = [torch.full((shape.numel(),), values.get(name, 0.0), device=self.weights.device) for name, shape in self._shapes.items()]
        return torch.cat(pieces)

    def mask(self) -> Bool[Tensor, " weights"]:
        """Which weights are kept, all in one."""
        return self.scores > self.threshold

    def signal(self) -> Float[Tensor, " scores"]:
        """Gradient of the loss with respect to the mask, as the last backward pass left it, clamped to [-1, 1]."""
        return (self._gradient * self.weights).clamp_(-1, 1)

    def score_costs(self, costs: Float[Tensor, " weights"] | None) -> Float[Tensor, " scores"] | None:
        """What belongs to each score costs; None: all the same."""
        return costs

    @torch.no_grad()
    def refresh(self) -> None:
        """Recompute the effective weights from the scores and clear their gradient."""
        torch.mul(self.weights, self.mask(), out=self._effective)
        self._gradient.zero_()

    @torch.no_grad()
    def backward(self, drift: float | Tensor) -> None:
        """Turn the gradient of the effective weights into `scores.grad`.

        Args:
            drift: gradient of the cost term: alpha times each weight's share of the cost (alpha / number of weights for density).
        """
        assert self.scores.grad is not None
        torch.add(self.signal(), drift, out=self.scores.grad)

    @torch.no_grad()
    def keep(self, budget: float, costs: Float[Tensor, " weights"] | None = None) -> None:
        """Set the threshold so that the weights with the highest scores are kept, as many as the budget pays for.

        Args:
            budget: in (0, 1]: the fraction of the weights, or of the total of `costs`, to keep.
            costs: of every weight; None: all weights cost the same.
        """
        count = len(self)
        if costs is None:
            removed = count - max(1, round(budget * count))
            self.threshold = float(self.scores.kthvalue(removed).values) if removed else -math.inf
            return
        scores, order = self.scores.sort(descending=True)
        spent = costs[order].cumsum(0, dtype=torch.float64)
        kept = max(1, int((spent <= budget * spent[-1] * (1 + 1e-9)).sum()))
        self.threshold = float(scores[kept]) if kept < count else -math.inf

    def density(self) -> float:
        """Fraction of weights kept (one host sync); one that is zero anyway, as another mask leaves it, is none."""
        return float((self.mask() & (self.weights != 0)).float().mean())

    def masks(self) -> dict[str, Tensor]:
        """The masks, on the CPU."""
        return {name: view.cpu() for name, view in self.split(self.mask()).items()}

    def split(self, flat: Shaped[Tensor, "*stack weights"]) -> dict[str, Tensor]:
        """Views of a flat tensor by parameter name, each of that parameter's shape behind the leading dimensions of `flat`."""
        pieces = torch.split(flat, [s.numel() for s in self._shapes.values()], dim=-1)
        return {name: piece.view(*flat.shape[:-1], *shape) for (name, shape), piece in zip(self._shapes.items(), pieces, strict=True)}


@dataclass(frozen=True)
class MaskPack:
    """A mask read from a file."""

    masks: dict[str, Tensor]
    source_sha256: str
    """Hash of the source.safetensors it was found for."""
    mask_sha256: str
    """Over names, shapes and packed bits."""


def density(masks: Masks) -> float:
    """Fraction of weights kept, in [0, 1]."""
    return sum(int(m.sum()) for m in masks.values()) / sum(m.numel() for m in masks.values())


@torch.no_grad()
def apply_masks(network: nn.Module, masks: Masks) -> None:
    """Zero the removed weights of `network`, in place.

    Raises:
        MaskError: a mask for a weight that does not exist or has another shape.
    """
    parameters = dict(network.named_parameters())
    for name, mask in masks.items():
        if name not in parameters:
            raise MaskError(f"mask for '{name}': the network has no such weight; is it the source this mask was made for?")
        weight = parameters[name]
        if mask.shape != weight.shape:
            raise MaskError(f"mask for '{name}' has shape {tuple(mask.shape)}, expected {tuple(weight.shape)} to match the weight.")
        weight.masked_fill_(~mask.to(weight.device), 0)


def save_mask_pack(masks: Masks, source_sha256: str, path: Path) -> str:
    """Write one bit a weight, compressed and bound to its source; returns the mask's sha256."""
    packed = {name: np.packbits(mask.numpy().reshape(-1)) for name, mask in masks.items()}
    shapes = {name: list(mask.shape) for name, mask in masks.items()}
    digest = _mask_sha256(packed, shapes)
    about = {"format": _FORMAT, "source_sha256": source_sha256, "mask_sha256": digest, "shapes": shapes}
    compressed = {name: np.frombuffer(zlib.compress(bits.tobytes(), 9), np.uint8) for name, bits in packed.items()}
    write_bytes(path, save(compressed, metadata={"seam": json.dumps(about)}))  # one key: safetensors does not keep the order of several
    return digest


def load_mask_pack(path: Path, source_sha256: str | None = None) -> MaskPack:
    """Read what `save_mask_pack` wrote.

    Args:
        path: the mask pack.
        source_sha256: when given, the pack must belong to this source.

    Raises:
        MaskError: missing, damaged, altered, or made for another source.
    """
    try:
        with safe_open(path, framework="numpy") as f:
            about = json.loads(f.metadata()["seam"])
            shapes = about["shapes"]
            packed = {name: _decompressed(f.get_tensor(name), shapes[name]) for name in shapes}
            masks = {name: _unpack(bits, shapes[name]) for name, bits in packed.items()}
            found, bound = _mask_sha256(packed, shapes), about["source_sha256"]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, zlib.error) as e:
        raise MaskError(f"{path}: expected a mask pack, got {e}; run the stage search again.") from e
    if found != about["mask_sha256"]:
        raise MaskError(f"{path}: expected mask sha256 {about['mask_sha256']}, got {found}: the file was altered.")
    if source_sha256 not in (None, bound):
        raise MaskError(f"{path}: made for the source with sha256 {bound}, got a source with {source_sha256}; search again, or use that source.")
    return MaskPack(masks, bound, found)


def _decompressed(data: npt.NDArray[np.uint8], shape: list[int]) -> npt.NDArray[np.uint8]:
    """The packed bits of a mask; never more than its shape allows, whatever the file says."""
    most = -(-int(np.prod(shape)) // 8)
    return np.frombuffer(zlib.decompressobj().decompress(data.tobytes(), most), np.uint8)


def _unpack(bits: npt.NDArray[np.uint8], shape: list[int]) -> Tensor:
    return torch.from_numpy(np.unpackbits(bits, count=int(np.prod(shape))).astype(bool).reshape(shape))


def _mask_sha256(packed: Mapping[str, npt.NDArray[np.uint8]], shapes: Mapping[str, list[int]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(packed):
        digest.update(f"{name}:{shapes[name]}:".encode())
        digest.update(packed[name].tobytes())
    return digest.hexdigest()
