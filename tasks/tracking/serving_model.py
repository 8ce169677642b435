"""The model as consumers get it: images as they come from disk in, class names and probabilities out.

MLflow copies this one file beside the network ("models from code", nothing is pickled) and runs it
where this project is not installed: it imports the standard library, numpy, pandas, MLflow and ONNX
Runtime, and Pillow only to resize.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

Uint8Array = npt.NDArray[np.uint8]
MAX_BATCH = 256
"""Images per run of the network; a bigger request is answered in pieces, so memory stays
bounded."""


class SeamClassifier(PythonModel):  # type: ignore[misc]
    """Runs model.onnx (uint8 NHWC images -> probabilities) and names the classes as classes.json says."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open the two artifacts: model.onnx and classes.json {classes, image_shape, image_size}."""
        about = json.loads(Path(context.artifacts["classes"]).read_text(encoding="utf-8"))
        self.classes: list[str] = about["classes"]
        self.image_shape: tuple[int, int, int] = tuple(about["image_shape"])
        self.image_size: int | None = about["image_size"]
        self.session = onnxruntime.InferenceSession(context.artifacts["network"], providers=["CPUExecutionProvider"])

    def predict(
        self,
        context: PythonModelContext,
        model_input: np.ndarray,  # type: ignore[type-arg]  # MLflow reads hints: this one asks for no checks of its own
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Classify images.

        Args:
            context: unused.
            model_input: uint8, shape (n, height, width, channels) for any n >= 0; one image
                (height, width, channels) is a batch of one; grey images may come without the last
                axis.
            params: unused.

        Returns:
            One row an image: `class` (name), `probability` (of that class), `probabilities` (class
            name -> probability).

        Raises:
            ValueError: another type or shape.
        """
        images = self._as_batch(np.asarray(model_input))
        name = self.session.get_inputs()[0].name
        pieces = [
            self.session.run(None, {name: images[i : i + MAX_BATCH]})[0] for i in range(0, len(images), MAX_BATCH)
        ]
        probabilities = np.concatenate(pieces) if pieces else np.empty((0, len(self.classes)), np.float32)
        return pd.DataFrame(
            {
                "class": [self.classes[i] for i in probabilities.argmax(axis=1)],
                "probability": [float(p) for p in probabilities.max(axis=1, initial=0.0)],
                "probabilities": [dict(zip(self.classes, map(float, row), strict=True)) for row in probabilities],
            }
        )

    def _as_batch(self, images: npt.NDArray[Any]) -> Uint8Array:
        height, width, channels = self.image_shape
        expected = f"expected uint8 images of shape (n, {height}, {width}, {channels})"
        if images.dtype != np.uint8:
            raise ValueError(
                f"{expected}, got dtype {images.dtype}; pass the pixels as they come from disk (0 to 255), not"
                " normalised."
            )
        if channels == 1 and (images.ndim == 2 or (images.ndim == 3 and images.shape[-1] != 1)):
            images = images[..., np.newaxis]
        if images.ndim == 3:
            images = images[np.newaxis]
        if images.ndim != 4 or images.shape[-1] != channels:
            raise ValueError(
                f"{expected}, got shape {images.shape}; check the order of the axes (channels last) and the number of"
                " channels."
            )
        if images.shape[1:3] == (height, width):
            return np.ascontiguousarray(images)
        if self.image_size is None:
            raise ValueError(
                f"{expected}, got shape {images.shape}; this model was made for images of exactly {height} x {width}"
                " pixels."
            )
        resized = [resize_and_crop(image, self.image_size) for image in images]
        return np.stack(resized) if resized else np.empty((0, *self.image_shape), np.uint8)


def resize_and_crop(image: Uint8Array, side: int) -> Uint8Array:
    """Resize the short side of an image (height, width, channels) to `side` (bilinear), crop the centre square."""
    try:
        from PIL import Image
    except ImportError as e:
        raise ValueError(
            f"expected images of {side} x {side} pixels, got {image.shape[0]} x {image.shape[1]}; install Pillow to"
            " have them resized."
        ) from e
    height, width, channels = image.shape
    scale = side / min(height, width)
    picture = Image.fromarray(image[:, :, 0] if channels == 1 else image)
    picture = picture.resize(
        (max(side, round(width * scale)), max(side, round(height * scale))), Image.Resampling.BILINEAR
    )
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return np.asarray(picture.crop((left, top, left + side, top + side)), np.uint8).reshape(side, side, channels)


set_model(SeamClassifier())
