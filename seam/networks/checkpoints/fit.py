"""The one set of weights of a checkpoint that an architecture takes: chosen, checked, and said in one line."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from seam.errors import SourceError, SuspectResultWarning
from seam.networks.checkpoints.candidates import Candidate, candidates, is_measure

logger = logging.getLogger(__name__)


def fitted(
    expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], where: str, chosen: str | None = None
) -> dict[str, Tensor]:
    """The weights for an architecture, by its names; what was done to get them is logged in one line.

    Where averaged and raw weights are in the checkpoint, the averaged ones are taken, and a
    `SuspectResultWarning` says so.

    Args:
        expected: the state dict of the architecture.
        tensors: of a checkpoint, by their paths in it.
        where: names the checkpoint in messages.
        chosen: what the set of weights to take is called in the checkpoint (`state_dict_ema`), or
            the beginning of its path; None: the averaged one, or the only one.

    Returns:
        Floating-point tensors in the architecture's precision.

    Raises:
        SourceError: keys or shapes that differ, several sets of weights without a rule for which,
            or weights that are quantised or not finite.
    """
    expected = {name: v for name, v in expected.items() if isinstance(v, Tensor)}
    found = candidates(expected, tensors)
    if not found[0].complete:
        raise _lacking(found[0], where)
    fitting = [c for c in found if c.fits(expected)]
    if not fitting:
        raise _other_shapes(found[0], expected, where)
    taken = _chosen(fitting, where, chosen)
    outside = _left_out(found, tensors)
    weights = {name: _values(name, v, expected[name], where) for name, v in taken.tensors.items() if name in expected}
    _say(taken, expected, outside, where)
    _doubt([name for name in outside if not is_measure(name) and tensors[name].ndim > 1], where)
    return weights


def _different(found: Sequence[Candidate]) -> list[Candidate]:
    """Without those under a common name for weights that hold the same values as another under one."""
    kept: list[Candidate] = []
    for candidate in found:
        if not candidate.is_common or not any(other.is_common and candidate.same_as(other) for other in kept):
            kept.append(candidate)
    return kept


def _chosen(found: Sequence[Candidate], where: str, chosen: str | None) -> Candidate:
    called = _different([c for c in found if chosen is None or c.is_called(chosen)])
    averaged, raw = ([c for c in called if c.averaged is kind] for kind in (True, False))
    if len(called) == 1:
        return called[0]
    names = ", ".join(_name(c) for c in found)
    if not called:
        raise SourceError(f"{where}: expected weights called '{chosen}' that fit, got {names}", hint="which_weights")
    if len(averaged) != 1 or len(raw) != 1:
        raise SourceError(f"{where}: holds several sets of weights that fit: {names}", hint="which_weights")
    warnings.warn(
        SuspectResultWarning(
            f"{where}: holds averaged (EMA) weights, {_name(averaged[0])}, and raw ones, {_name(raw[0])}; the averaged"
            " ones are taken",
            hint="which_weights",
        ),
        stacklevel=4,
    )
    return averaged[0]


def _name(candidate: Candidate) -> str:
    return candidate.path or "'.' (its top)"


def _left_out(found: Sequence[Candidate], tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of what is in no set of weights that the architecture could take."""
    inside = {id(v) for candidate in found for v in candidate.tensors.values()}
    return [name for name, v in tensors.items() if id(v) not in inside]


def _say(taken: Candidate, expected: Mapping[str, Tensor], outside: Sequence[str], where: str) -> None:
    done = [f"the weights are under '{taken.path}'"] if taken.path else []
    done += taken.notes
    if outside:
        done.append(f"left out: {_some(outside)}")
    floats = {k: v for k, v in taken.tensors.items() if v.is_floating_point()}
    kinds = {str(v.dtype).removeprefix("torch.") for k, v in floats.items() if v.dtype != expected[k].dtype}
    if kinds:
        ours = {str(v.dtype).removeprefix("torch.") for v in expected.values() if v.is_floating_point()}
        done.append(f"{', '.join(sorted(kinds))} made {', '.join(sorted(ours))}")
    if done:
        logger.info("%s: %s.", where, "; ".join(done))


def _doubt(layers: Sequence[str], where: str) -> None:
    """Warn of weights that were left out: what computes with them may be missing."""
    if layers:
        warnings.warn(
            f"{where}: {_some(layers)} beside the weights belong to no part of the architecture and are left out; check"
            " that it is the whole network.",
            SuspectResultWarning,
            stacklevel=4,
        )


def _values(name: str, tensor: Tensor, ours: Tensor, where: str) -> Tensor:
    """A tensor in the architecture's precision, if it has values that can be taken as they are."""
    if tensor.is_quantized or tensor.layout != torch.strided or tensor.is_meta:
        raise SourceError(f"{where}: '{name}' is quantised, sparse or without values, expected plain weights.")
    if not ours.is_floating_point():
        return tensor
    if not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise SourceError(f"{where}: '{name}' holds {kind}, expected floating-point weights; give them unquantised.")
    values = tensor.to(ours.dtype)
    if not torch.isfinite(values).all():
        raise SourceError(f"{where}: '{name}' holds NaN or infinite values, expected finite weights.")
    return values


def _lacking(candidate: Candidate, where: str) -> SourceError:
    under = f" (under '{candidate.path}')" if candidate.path else ""
    return SourceError(
        f"{where}: keys do not match the architecture{under}: missing {_some(candidate.missing)}, unexpected"
        f" {_some(candidate.unexpected)}."
    )


def _other_shapes(candidate: Candidate, expected: Mapping[str, Tensor], where: str) -> SourceError:
    differ = {k: v for k, v in candidate.tensors.items() if v.shape != expected[k].shape}
    name, tensor = next(iter(differ.items()))
    shapes = f"{tuple(tensor.shape)}, expected {tuple(expected[name].shape)}"
    pairs = {(v.shape[:1], expected[k].shape[:1]) for k, v in differ.items()}
    widths = all(v.ndim and v.shape[1:] == expected[k].shape[1:] for k, v in differ.items())
    if widths and len(pairs) == 1 and len({k.rpartition(".")[0] for k in differ}) == 1:
        (theirs,), (ours,) = next(iter(pairs))
        return SourceError(
            f"{where}: has {theirs} classes where {ours} are asked for ('{name}' has shape {shapes})",
            hint="num_classes",
        )
    return SourceError(f"{where}: '{name}' has shape {shapes}; check the architecture and the number of classes.")


def _some(names: Sequence[str], most: int = 3) -> str:
    shown = ", ".join(names[:most]) or "none"
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
