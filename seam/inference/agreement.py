"""Whether engines compute what torch computes: outputs for the same images, of one model, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from seam.configs.inference import EngineName
from seam.errors import words
from seam.inference.engines import ENGINES, version
from seam.inference.isolated import outputs_isolated
from seam.inference.measure import outputs
from seam.inference.variants import Batch, FloatArray, Variant


@dataclass(frozen=True)
class Agreement:
    """Outputs of an engine beside torch's, over images of one kind."""

    images: int
    max_abs_diff: float | None
    """Largest difference of an output; None: outputs of another shape, or not all are finite."""
    deviation: float | None
    """The same, as a share of the largest output (or of 1, where that is less)."""
    labels_flipped: int
    """Images whose largest output is another class's."""


def compared(got: FloatArray, wanted: FloatArray) -> Agreement:
    """Two sets of outputs, shape (images, classes); where the shapes differ, or numbers are missing, nothing agrees."""
    if got.shape != wanted.shape or not np.isfinite(got).all():
        return Agreement(len(wanted), None, None, len(wanted))
    difference = float(np.abs(got - wanted).max(initial=0.0))
    scale = max(1.0, float(np.abs(wanted).max(initial=0.0)))
    flipped = int((got.argmax(1) != wanted.argmax(1)).sum()) if wanted.size else 0
    return Agreement(len(wanted), difference, difference / scale, flipped)


def agreements(
    engines: Sequence[EngineName],
    variant: Variant,
    inputs: Mapping[str, Batch],
    num_threads: int,
    progress: Callable[[float, str], None] = lambda share, text: None,
) -> dict[str, dict[str, Any]]:
    """Every engine's outputs for images of several kinds, beside torch's.

    Args:
        engines: to be compared; torch itself, which is what they are compared with, is left out.
        variant: the model, with its module.
        inputs: kind -> its inputs.
        num_threads: of every engine.
        progress: called with the share done and a text before each engine.

    Returns:
        Engine -> {"precision": "float32" or "int8", "kinds": {kind: `Agreement`}}, or {"unavailable":
        reason}.
    """
    together, ends = np.concatenate(list(inputs.values())), np.cumsum([len(x) for x in inputs.values()])[:-1]

    def by_kind(made: FloatArray) -> dict[str, FloatArray]:
        return dict(zip(inputs, np.split(made, ends), strict=True))

    wanted = by_kind(outputs("torch", variant, together, num_threads))
    found: dict[str, dict[str, Any]] = {}
    others = [engine for engine in engines if engine != "torch"]
    for number, engine in enumerate(others):
        progress(number / len(others), engine)
        row = ENGINES[engine]
        run = outputs_isolated if row.isolated else outputs
        try:
            made = by_kind(run(engine, variant, together, num_threads))  # a model is loaded once, in seconds
        except Exception as e:  # an engine that fails in any way is reported, the rest goes on
            found[engine] = {"unavailable": words(e), "version": version(engine)}
            continue
        kinds = {kind: asdict(compared(got, wanted[kind])) for kind, got in made.items()}
        found[engine] = {"precision": "int8" if row.takes == "int8" else "float32", "kinds": kinds}
    return found
