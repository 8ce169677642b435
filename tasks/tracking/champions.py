"""What registered models answer to fixed images, to tell whether a registry that was brought back is the same."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import mlflow
import numpy as np
from mlflow.exceptions import MlflowException

from seam.errors import TrackingError
from tasks.tracking.store import LOST, SETTINGS, one_line

IMAGES = 4
ANY_SIZE = 32
"""Of images, for a model that takes them of any size."""
TOLERANCE = 1e-4
"""Between two machines' ONNX Runtimes."""


def answers(uri: str, models: Iterable[tuple[str, int]]) -> dict[str, list[list[float]]]:
    """The probabilities that each version gives for the same noise: `name/version` -> (images, classes).

    Args:
        uri: of the tracking server.
        models: name and version; those that do not take images are left out.

    Raises:
        TrackingError: one cannot be loaded.
    """
    found = {}
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    mlflow.set_tracking_uri(uri)
    for name, version in models:
        try:
            model = mlflow.pyfunc.load_model(f"models:/{name}/{version}")
        except (*LOST, MlflowException) as e:
            raise TrackingError(f"models:/{name}/{version} in {uri} cannot be loaded: {one_line(e)}") from e
        if (images := _noise(model)) is not None:
            said = model.predict(images)
            found[f"{name}/{version}"] = [[round(p, 6) for p in row.values()] for row in said["probabilities"]]
    return found


def differing(before: dict[str, list[list[float]]], after: dict[str, list[list[float]]]) -> list[str]:
    """The models that do not answer as before."""
    return [name for name, said in before.items() if name not in after or not _alike(said, after[name])]


def _alike(one: list[list[float]], other: list[list[float]]) -> bool:
    a, b = np.asarray(one), np.asarray(other)
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=0, atol=TOLERANCE))


def _noise(model: Any) -> np.ndarray[Any, np.dtype[np.uint8]] | None:
    """Images of the size that the model's signature asks for."""
    schema = model.metadata.get_input_schema()
    if schema is None or not schema.is_tensor_spec() or schema.inputs[0].type != np.uint8:
        return None
    shape = [size if size > 0 else ANY_SIZE for size in schema.inputs[0].shape[1:]]
    return np.random.default_rng(0).integers(0, 256, (IMAGES, *shape), dtype=np.uint8)
