"""The model registry: one version for each result; which of them has an alias is in `tasks.tracking.aliases`."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, LoggedModelStatus
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.pyfunc import save_model
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from mlflow.types.schema import Map
from torch import nn

from seam.configs.data import Exif
from seam.files import sha256_file
from seam.inference.export import export_serving_onnx
from seam.measures.shipped import Claim, check_shipped
from seam.networks.source import Preprocess
from tasks.tracking.owner import owner_of, owner_tags
from tasks.tracking.store import EXIF
from tasks.tracking.turns import unless_code

SERVING_CODE = Path(__file__).with_name("serving_model.py")
RESULT = "seam.result_sha256"
"""Tag of a model version: what it was made from."""
_NEEDS = ("mlflow", "numpy", "onnxruntime", "pandas")


@dataclass(frozen=True)
class ServedModel:
    """What becomes a model version."""

    name: str
    """Of the registered model."""
    made_of: Mapping[str, Any]
    """Weights, classes, preprocessing, not where or when: the same content is registered once."""
    network: nn.Module
    """Normalised images to logits of the classes, eval mode, on the CPU."""
    claim: Claim
    """What is said of `network`; its file is not published unless that is so."""
    preprocess: Preprocess
    classes: Sequence[str]
    image_shape: tuple[int, int, int]
    image_size: int | None
    """Side that other images are resized and cropped to; None: they are refused."""
    example: npt.NDArray[np.uint8]
    """Two or more images, uint8 NHWC."""
    description: str
    exif: Exif = "ignore"
    """What was done about the EXIF orientation of the training images, and is for picture files."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Of the version."""
    attest: Callable[[Path], None] | None = None
    """Adds to the folder that is published where it comes from, and signs it."""

    @property
    def about_files(self) -> dict[str, str]:
        """What servers of picture files have to know, unless it is what they do anyway."""
        return {} if self.exif == "ignore" else {EXIF: self.exif}

    @cached_property
    def result_sha256(self) -> str:
        """Identifies the version: of what it is made of, and of the code that serves it."""
        content = {**self.made_of, "serving_code_sha256": sha256_file(SERVING_CODE), **self.about_files}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def make_registered_model(client: MlflowClient, served: ServedModel) -> None:
    """The model that versions are of, if there is none yet."""
    with unless_code("RESOURCE_ALREADY_EXISTS"):
        client.create_registered_model(served.name, description=served.description)


def find_version(client: MlflowClient, served: ServedModel) -> ModelVersion | None:
    """The version of this result with the lowest number."""
    return min(_same(client, served), key=lambda version: int(version.version), default=None)


def find_or_log_model(client: MlflowClient, run_id: str, served: ServedModel) -> str:
    """A logged model of this result, whole, which nobody else is about to register; its id."""
    return _left_model(client, run_id, served.result_sha256) or _log_model(client, run_id, served)


def create_version(client: MlflowClient, run_id: str, served: ServedModel, model_id: str) -> ModelVersion:
    """The version of a logged model, in a turn (tasks.tracking.turns) in which there was none.

    An answer that is lost on its way has the client ask again, and there are two: one goes.
    """
    source = client.get_logged_model(
        model_id
    ).artifact_location  # a models:/ address is looked up in the process-wide store, not the client's
    made = client.create_model_version(
        served.name,
        source,
        run_id=run_id,
        model_id=model_id,
        tags={RESULT: served.result_sha256},
        description=served.description,
    )
    first = find_version(client, served) or made
    for version in _same(client, served):
        if version.version != first.version:
            client.delete_model_version(version.name, version.version)
    return first


def drop_unused(client: MlflowClient, model_id: str, version: ModelVersion) -> None:
    """Delete a logged model of a result that has a version of another one."""
    if model_id not in (version.source or ""):
        with suppress(MlflowException):  # another process may have found it, too
            client.delete_logged_model(model_id)


def _same(client: MlflowClient, served: ServedModel) -> list[ModelVersion]:
    versions = client.search_model_versions(f"name = '{served.name}'")
    return [version for version in versions if version.tags.get(RESULT) == served.result_sha256]


def _left_model(client: MlflowClient, run_id: str, digest: str) -> str | None:
    """A whole model that a killed registration left; half-written ones that nobody goes on with are deleted.

    Those of processes that may be alive are theirs.
    """
    experiment = client.get_run(run_id).info.experiment_id
    found = None
    for model in client.search_logged_models([experiment], f"tags.`{RESULT}` = '{digest}'"):
        worker = owner_of(model.tags)
        if worker is None or not worker.is_gone:
            continue
        if model.status == LoggedModelStatus.READY:
            found = model.model_id
        else:
            with suppress(MlflowException):  # another process may do so, too
                client.delete_logged_model(model.model_id)
    return found


def _log_model(client: MlflowClient, run_id: str, served: ServedModel) -> str:
    experiment = client.get_run(run_id).info.experiment_id
    model = client.create_logged_model(
        experiment,
        name=served.name,
        source_run_id=run_id,
        tags={RESULT: served.result_sha256, **owner_tags()},
        model_type="image-classifier",
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        about = Model(
            artifact_path=model.artifact_location, model_uuid=model.model_id, run_id=run_id, model_id=model.model_id
        )
        save_serving_model(served, path, about)
        if served.attest is not None:
            served.attest(path)
        client.log_model_artifacts(model.model_id, str(path))
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    return str(model.model_id)


def save_serving_model(served: ServedModel, path: Path, about: Model | None = None) -> None:
    """Write the MLflow model (code, network, classes, signature, example, requirements) into the new folder `path`."""
    with tempfile.TemporaryDirectory() as folder:
        classes, network = Path(folder) / "classes.json", Path(folder) / "model.onnx"
        export_serving_onnx(served.network, served.preprocess, served.image_shape, network)
        example = served.preprocess(torch.from_numpy(served.example[:1]))
        check_shipped(network, served.network, example, served.claim)
        about_classes = {
            "classes": list(served.classes),
            "image_shape": list(served.image_shape),
            "image_size": served.image_size,
        }
        classes.write_text(json.dumps(about_classes, indent=2) + "\n")
        save_model(
            str(path),
            python_model=str(SERVING_CODE),
            artifacts={"network": str(network), "classes": str(classes)},
            signature=signature(served.image_shape, served.image_size),
            input_example=served.example,
            pip_requirements=[f"{package}=={importlib.metadata.version(package)}" for package in _NEEDS],
            mlflow_model=about,
            metadata=served.about_files or None,
        )
    for cache in path.rglob("__pycache__"):
        shutil.rmtree(cache)


def signature(image_shape: tuple[int, int, int], image_size: int | None) -> ModelSignature:
    """Any number of uint8 images (of any size where they are resized) in; class, probability, probabilities out."""
    height, width, channels = image_shape
    size = (height, width) if image_size is None else (-1, -1)
    inputs = Schema([TensorSpec(np.dtype(np.uint8), (-1, *size, channels))])
    outputs = Schema(
        [
            ColSpec(DataType.string, "class"),
            ColSpec(DataType.double, "probability"),
            ColSpec(Map(DataType.double), "probabilities"),
        ]
    )
    return ModelSignature(inputs=inputs, outputs=outputs)
