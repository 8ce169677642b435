"""An exported result has what its report says, or there is no file."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import seam
from seam.configs.search import SearchConfig
from seam.configs.training import FinetuneConfig
from seam.door.work import Small
from seam.errors import ExportError, SuspectResultWarning
from seam.inference.counted import count_file
from tests.seam.door.stripes import Net, floats, trained


@pytest.fixture(scope="module")
def small() -> Small:
    search = SearchConfig(method="one_pass", structure="channels", cost="macs", target=0.5, accuracy_floor=0.0)
    quick: dict[str, Any] = {"search_config": search, "training": FinetuneConfig(epochs=0), "progress": False}
    return seam.reengineer(trained(), floats(64, 0), [0, 2], val=floats(24, 1), **quick)


def test_the_report_says_what_the_file_has(small: Small, tmp_path: Path) -> None:
    said, found = small.report.result, count_file(seam.export(small, tmp_path / "small.onnx"))
    biases = sum(int(torch.count_nonzero(p)) for p in small.network.parameters() if p.ndim == 1)
    assert found is not None
    assert found.weights_nonzero == said.params_nonzero - biases
    assert 0 < found.macs_nonzero <= said.macs


@pytest.mark.parametrize(
    ("key", "words"),
    [("params_total", "weights"), ("params_nonzero", "non-zero weights"), ("macs", "multiply-adds without zeros")],
)
@pytest.mark.parametrize("off", [-1, 1])
def test_a_report_that_is_wrong_leaves_the_file_as_it_was(
    small: Small, tmp_path: Path, key: str, words: str, off: int
) -> None:
    wrong = replace(small.report.result, **{key: getattr(small.report.result, key) + off})
    path = tmp_path / "small.onnx"
    path.write_bytes(b"good")
    before = path.stat().st_ino
    with pytest.raises(ExportError, match=rf"^small\.onnx: expected [\d,]+ {words} in its .*, as the report says"):
        seam.export(replace(small, report=replace(small.report, result=wrong)), path)
    assert path.stat().st_ino == before and path.read_bytes() == b"good" and list(tmp_path.iterdir()) == [path]


@torch.no_grad()
def test_a_network_that_was_changed_since_is_exported_without_its_report(small: Small, tmp_path: Path) -> None:
    changed = copy.deepcopy(small.network)
    next(p for p in changed.parameters() if p.ndim > 1).zero_()
    with pytest.raises(ExportError, match=r"export its \.network with an example, of which nothing is said\.$"):
        seam.export(replace(small, network=changed), tmp_path / "small.onnx")
    assert seam.export(changed, tmp_path / "small.onnx", small.example).is_file()


class Decides(Net):
    """Twice the scores where an image is bright."""

    def forward(self, x: Tensor) -> Tensor:
        scores = super().forward(x)
        return scores * 2 if x.mean() > 2 else scores


def test_a_network_that_decides_by_the_content_of_images_is_exported_with_a_doubt(tmp_path: Path) -> None:
    with pytest.warns(SuspectResultWarning, match=r"test_export\.py, `return scores \* 2 if .* one way for all images"):
        path = seam.export(Decides().eval(), tmp_path / "decides.onnx", torch.zeros(1, 3, 16, 16))
    assert path.is_file()
