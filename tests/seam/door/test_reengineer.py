"""The front door to a part of a network: every form that images come in, the same result, nothing changed."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

import seam
from seam.configs.search import SearchConfig
from seam.configs.training import FinetuneConfig
from seam.masks.masks import apply_masks, density
from tests.seam.door.stripes import CLASSES, MEAN, SIDE, STD, accuracy, floats, folder, pixels, trained

MACS = SearchConfig(method="one_pass", structure="channels", cost="macs", target=0.5, accuracy_floor=0.0)
BRIEF = FinetuneConfig(epochs=2, lr=0.02, lr_head=0.02, momentum=0.9, schedule="cosine", features=1.0)
QUICK: dict[str, Any] = {"search_config": MACS, "training": BRIEF, "progress": False}
NORMALISED: dict[str, Any] = {"mean": [MEAN], "std": [STD]}
pytestmark = pytest.mark.filterwarnings("ignore::seam.errors.SuspectResultWarning")


class Named(Dataset[Any]):
    """A data set with names of its classes and random noise of its own."""

    classes = CLASSES

    def __init__(self, count: int, seed: int, noise: float = 0.0) -> None:
        self.images, self.labels = floats(count, seed)
        self.noise = noise

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.images[index]
        return image + self.noise * torch.randn(image.shape), int(self.labels[index])


def given(kind: str, tmp_path: Path) -> dict[str, Any]:
    """The same images, or nearly, in one of the forms that people have."""
    x, y = pixels(64, 0)
    if kind == "folder":
        return {"train": folder(tmp_path), "classes": ["boot", "hat"], **NORMALISED}
    if kind == "uint8 arrays":
        return {"train": (x, y), "val": pixels(24, 1), "classes": [0, 2], **NORMALISED}
    if kind == "float arrays":
        return {"train": floats(64, 0), "val": floats(24, 1), "classes": [0, 2], "class_names": CLASSES}
    if kind == "dataset":
        return {"train": Named(64, 0, 0.1), "val": Named(24, 1), "classes": ["boot", "hat"]}
    if kind == "subset":
        return {"train": Subset(Named(90, 0), range(64)), "val": Named(24, 1), "classes": ["boot", "hat"]}
    loader = DataLoader(TensorDataset(*floats(64, 0)), batch_size=7, shuffle=True)
    return {"train": loader, "val": DataLoader(TensorDataset(*floats(24, 1))), "classes": ["0", "2"]}


KINDS = ("folder", "uint8 arrays", "float arrays", "dataset", "subset", "loader")


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_of_images_gives_a_smaller_network_that_is_as_good(kind: str, tmp_path: Path) -> None:
    network = trained()
    before = copy.deepcopy(network.state_dict())
    network.train()
    drawn = torch.get_rng_state()
    small = seam.reengineer(network, **given(kind, tmp_path), **QUICK)
    assert network.training
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert torch.equal(drawn, torch.get_rng_state())
    assert accuracy(small.network, [0, 2]) == 1.0
    assert len(small.classes) == 2
    assert small.report.classes == small.classes
    of_source, of_result = small.report.source, small.report.result
    assert of_source.accuracy == of_result.accuracy == 1.0
    assert of_result.macs < 0.6 * of_source.macs
    assert of_result.params_total == sum(p.numel() for p in small.network.parameters())
    assert of_result.params_total < sum(p.numel() for p in network.parameters())


def test_the_masks_and_the_head_say_what_the_small_network_is_before_training() -> None:
    network, images = trained(), floats(8, 5)[0]
    untrained = {**QUICK, "training": FinetuneConfig(epochs=0)}
    small = seam.reengineer(
        network, floats(64, 0), [1, 3], val=floats(24, 1), **{**untrained, "search_config": SearchConfig(max_rounds=2)}
    )
    masked = trained()
    apply_masks(masked, small.masks)
    exact = seam.compact(network, small.masks, small.example)
    with torch.no_grad():
        assert torch.allclose(exact(images), masked(images), atol=1e-4)


def test_the_same_call_gives_the_same_network_and_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seam.checkpoint.SAVE_SECONDS", 0.0)
    of = given("dataset", tmp_path)
    first = seam.reengineer(trained(), **of, **QUICK)

    class StoppedError(KeyboardInterrupt):
        pass

    place = tmp_path / "state"

    class Stopping(Named):
        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            if (place / "training.safetensors").is_file():
                raise StoppedError
            return super().__getitem__(index)

    with pytest.raises(StoppedError):
        seam.reengineer(trained(), **{**of, "train": Stopping(64, 0, 0.1)}, **QUICK, folder=place)
    assert {path.name for path in place.iterdir()} == {"search.safetensors", "training.safetensors"}
    second = seam.reengineer(trained(), **of, **QUICK, folder=place)
    for one, other in zip(first.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(one, other)
    assert {k: v.sum() for k, v in first.masks.items()} == {k: v.sum() for k, v in second.masks.items()}


def test_one_class_against_the_rest(tmp_path: Path) -> None:
    small = seam.reengineer(trained(), folder(tmp_path), classes="hat", **NORMALISED, **QUICK)
    assert small.classes == ("hat", "other")


def test_the_normalisation_is_found_where_none_is_given(tmp_path: Path) -> None:
    class Shifted(nn.Module):
        """Trained on images from -1 to 1."""

        def __init__(self) -> None:
            super().__init__()
            self.network = trained()

        def forward(self, x: Tensor) -> Tensor:
            inside = (x.abs().amax((1, 2, 3)) <= 1) & (x.amin((1, 2, 3)) < -0.5)
            logits: Tensor = self.network(x * 0.5 / STD) * inside[:, None]
            return logits

    small = seam.reengineer(Shifted().eval(), folder(tmp_path), ["boot", "hat"], **QUICK)
    assert "-1 to 1" in small.report.normalisation
    assert "the best of 4 on val" in str(small.report)


def test_the_milliseconds_of_this_machine_are_spent_by_default(tmp_path: Path) -> None:
    small = seam.reengineer(
        trained(),
        folder(tmp_path),
        ["boot", "hat"],
        **NORMALISED,
        training=BRIEF,
        progress=False,
        folder=tmp_path / "s",
    )
    assert small.report.method.startswith("whole channels")
    assert "of the milliseconds kept" in small.report.method
    assert small.report.conditions["engine"] == "onnxruntime"
    assert (tmp_path / "s" / "times.json").is_file()


def test_a_network_without_channels_that_can_go_loses_weights_with_a_doubt(tmp_path: Path) -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3 * SIDE * SIDE, len(CLASSES))

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.linear(x.flatten(1))
            return logits

    torch.manual_seed(0)
    small = seam.reengineer(Flat(), floats(64, 0), [0, 2], val=floats(24, 1), **QUICK)
    assert any("single weights were removed instead" in doubt for doubt in small.report.doubts)
    assert small.report.result.params_nonzero < small.report.source.params_nonzero


def test_the_masks_are_of_the_result_where_weights_leave_one_by_one() -> None:
    training = FinetuneConfig(epochs=2, removed_weights="gradual")
    some = {**QUICK, "search_config": SearchConfig(target=0.3, max_rounds=1, accuracy_floor=0.0), "training": training}
    small = seam.reengineer(trained(), floats(64, 0), [0, 2], val=floats(24, 1), **some)
    assert small.report.result.params_nonzero < 0.4 * small.report.source.params_nonzero
    assert density(small.masks) == pytest.approx(0.3, abs=0.01)


def test_the_exported_file_gives_what_the_network_gives(tmp_path: Path) -> None:
    small = seam.reengineer(trained(), floats(64, 0), [0, 2], val=floats(24, 1), **QUICK)
    path = seam.export(small, tmp_path / "small.onnx")
    images = floats(5, 3)[0]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"input": images.numpy()})
    with torch.no_grad():
        assert np.abs(found - small.network(images).numpy()).max() < 1e-4
    for bad, words in (((small, tmp_path / "x.pt"), "ends in .onnx, got '.pt'"), ((trained(), path), "give example")):
        with pytest.raises(seam.errors.ExportError, match=words):
            seam.export(*bad)


def test_the_door_opens_at_once_and_needs_nothing_of_the_pipeline() -> None:
    code = (
        "import sys, time; begin = time.perf_counter(); import seam; took = time.perf_counter() - begin\n"
        "assert 'torch' not in sys.modules and set(seam.__all__) <= set(dir(seam))\n"
        "[getattr(seam, name) for name in seam.__all__]\n"
        "found = {m.split('.')[0] for m in sys.modules} & {'prefect', 'mlflow', 'dvc', 'pydantic', 'tasks', 'flows'}\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
