"""A result whose published sizes are not those of what is shipped is registered nowhere, with one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from torch import nn

from seam.errors import DataError, ExportError
from seam.inference.export import export_serving_onnx
from tasks.project.environment import tracking_uri
from tasks.project.stage import StageContext
from tasks.register_model import register_model
from tasks.tracking import versions

Edit = Callable[[Path, Callable[[dict[str, Any]], None]], None]
EVALUATED, EXPORTED = ("evaluate", "metrics.json"), ("benchmark_latency", "export.json")


def versions_of(context: StageContext) -> list[Any]:
    uri = tracking_uri(context.root)
    return list(MlflowClient(tracking_uri=uri, registry_uri=uri).search_model_versions("name = 'seam-zero'"))


@pytest.mark.parametrize("key", ["params_total", "params_nonzero", "macs_dense", "macs_nonzero"])
@pytest.mark.parametrize(
    ("where", "model"),
    [(EVALUATED, "source"), (EVALUATED, "reengineered_finetuned"), (EXPORTED, "reengineered")],
)
def test_a_wrong_number_of_a_stage_is_caught(
    registry_project: StageContext, edit_json: Edit, where: tuple[str, str], model: str, key: str
) -> None:
    edit_json(registry_project.artifact(*where), lambda found: found[model].update({key: found[model][key] - 1}))
    with pytest.raises(DataError, match=rf"expected [\d,]+ for {key} of '{model}'.*make it anew\.$") as error:
        register_model(registry_project)
    assert error.value.path == registry_project.artifact(*where)
    assert not versions_of(registry_project)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("params_total", "weights"),
        ("params_nonzero", "non-zero weights"),
        ("macs_dense", "multiply-adds"),
        ("macs_nonzero", "multiply-adds without zeros"),
    ],
)
@pytest.mark.parametrize("off", [-1, 1])
def test_a_wrong_number_of_what_is_served_is_caught(
    registry_project: StageContext, edit_json: Edit, key: str, words: str, off: int
) -> None:
    path = registry_project.artifact(*EXPORTED)
    edit_json(path, lambda found: found["compacted"].update({key: found["compacted"][key] + off}))
    with pytest.raises(ExportError, match=rf"expected [\d,]+ {words} in its") as error:
        register_model(registry_project)
    assert str(path) in str(error.value)
    assert str(error.value).endswith("run the stage benchmark_latency again.")
    assert "\n" not in str(error.value)
    assert not versions_of(registry_project)


def test_a_served_file_of_another_network_is_caught(
    registry_project: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(network: nn.Module, *rest: Any) -> float:
        return export_serving_onnx(nn.Sequential(network, nn.Linear(2, 2)), *rest)

    monkeypatch.setattr(versions, "export_serving_onnx", other)
    with pytest.raises(ExportError, match=r"model\.onnx: expected [\d,]+ weights in its"):
        register_model(registry_project)
    assert not versions_of(registry_project)
