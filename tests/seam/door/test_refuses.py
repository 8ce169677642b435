"""Bad input at the door: one typed line that says what was expected and what to do; the network stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import seam
from seam.door.asked import own_copy
from seam.door.given import labelled
from seam.errors import DataError, SeamError, SourceError
from tests.seam.door.stripes import Net, floats, folder, pixels, trained

X, Y = floats(32, 0)
NAN = X.clone()
NAN[3, 0, 0, 0] = torch.nan


class Numbers(IterableDataset[Any]):
    def __iter__(self) -> Any:
        yield from zip(X, Y, strict=True)


class Dropped(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.dropout(x))


class OtherArgument(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward({"images": x}["pixel_values"])


def half() -> nn.Module:
    return trained().half()


def on_meta() -> nn.Module:
    return trained().to("meta")


def broken() -> nn.Module:
    network = trained()
    with torch.no_grad():
        network.linear.weight[0, 0] = torch.inf
    return network


BAD: dict[str, tuple[type[SeamError], str, dict[str, Any]]] = {
    "a class it has not": (DataError, "unknown class 'boat'", {"classes": ["boat"]}),
    "no class": (DataError, "expected at least one class, got none", {"classes": []}),
    "a class twice": (DataError, "every class must be named once", {"classes": [1, 1]}),
    "other number of names": (DataError, "class_names: expected 4, .* got 2", {"class_names": ["a", "b"]}),
    "labels out of range": (DataError, r"train: expected labels in 0\.\.3, .* got 0\.\.9", {"train": (X, Y * 3)}),
    "labels below zero": (DataError, r"got -1\.\.2", {"train": (X, Y - 1)}),
    "float labels": (DataError, "expected whole numbers as labels", {"train": (X, Y.float())}),
    "one label too few": (DataError, "got 32 images and 31 labels", {"train": (X, Y[:-1])}),
    "no images": (DataError, "train: expected images, got none", {"train": (X[:0], Y[:0])}),
    "an empty loader": (
        DataError,
        "empty data set",
        {"train": DataLoader(TensorDataset(X[:0], Y[:0]), sampler=range(0))},
    ),
    "a data set without a length": (DataError, "IterableDataset", {"train": Numbers()}),
    "a loader without a length": (DataError, "map-style", {"train": DataLoader(Numbers())}),
    "samples that are no pairs": (DataError, r"expected samples of \(image, label\)", {"train": TensorDataset(X)}),
    "images of integers": (DataError, "add a transform", {"train": TensorDataset(X.int(), Y)}),
    "val of another size": (DataError, "val: expected images as of train", {"val": (X[..., :8], Y)}),
    "val of another kind": (DataError, "val: expected images as of train", {"val": pixels(24, 1)}),
    "no image of a class in val": (DataError, "val: expected images of every class", {"val": (X[:1], Y[:1])}),
    "a mean for floats": (DataError, "expected none for images that are float", {"mean": [0.5], "std": [0.5]}),
    "a mean alone": (DataError, "got one alone", {"mean": [0.5]}),
    "two means": (
        DataError,
        "expected 1 or 3 values",
        {"train": pixels(32, 0), "val": None, "mean": [0.0, 0.0], "std": [1.0, 1.0]},
    ),
    "NaN in images": (DataError, "got NaN or infinite", {"train": (NAN, Y)}),
    "images of another shape": (DataError, "expected images of dtype uint8", {"train": (X[0], Y)}),
    "images that are too small": (SourceError, "does not take images", {"train": (X[:, :1], Y), "val": None}),
    "a folder that is not there": (DataError, "no such folder", {"train": "/nowhere/shop"}),
    "half precision": (SourceError, r"call network.float\(\) first", {"network": half}),
    "another device": (SourceError, "on the meta device", {"network": on_meta}),
    "weights that are not finite": (SourceError, "'linear.weight' holds NaN or infinite", {"network": broken}),
    "no weights": (SourceError, "expected a network with weights", {"network": nn.Flatten}),
    "no class scores": (
        SourceError,
        "expected class scores of shape",
        {"network": lambda: nn.Conv2d(3, 4, 3)},
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_is_refused_in_one_line(name: str) -> None:
    kind, words, changed = BAD[name]
    make: Callable[[], Any] = changed.get("network", trained)
    network = make()
    before = {k: v.clone() for k, v in network.state_dict().items()} if isinstance(network, nn.Module) else {}
    arguments = {"train": (X, Y), "val": floats(24, 1), "classes": [0, 2], **changed, "network": network}
    with pytest.raises(kind, match=words) as caught:
        seam.reengineer(**arguments, progress=False)
    assert "\n" not in str(caught.value)
    for k, v in before.items():
        if not v.is_meta:
            assert torch.equal(v.nan_to_num(), network.state_dict()[k].nan_to_num())


@pytest.mark.parametrize(
    ("network", "words"), [(Dropped, "Dropped: the same images give other scores"), (OtherArgument, "pixel_values")]
)
def test_a_student_is_not_made_of_what_cannot_work(network: type[Net], words: str) -> None:
    with pytest.raises(SourceError, match=words):
        seam.transfer(network(), (X, Y), val=floats(24, 1), progress=False)


def test_what_is_neither_a_network_nor_images() -> None:
    with pytest.raises(SourceError, match=r"expected a torch.nn.Module, got str"):
        own_copy("resnet18")
    with pytest.raises(SourceError, match=r"expected a torch.nn.Module, got RecursiveScriptModule"):
        own_copy(torch.jit.script(trained()))
    with pytest.raises(DataError, match=r"train: expected a folder, a Dataset, a DataLoader or .*, got int"):
        labelled(3, "train", None)


def test_images_of_a_folder_must_agree_in_size(tmp_path: Path) -> None:
    from PIL import Image

    train = folder(tmp_path)
    Image.fromarray(np.zeros((20, 16, 3), np.uint8)).save(train / "boot" / "000.png")
    with pytest.raises(DataError, match="expected images of one size, got"):
        seam.reengineer(trained(), train, ["boot", "hat"], progress=False)


def test_a_network_of_many_classes_and_a_folder_of_few(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"10 outputs and the images have 4 classes.*class_names.*seam\.transfer"):
        seam.reengineer(Net(10).eval(), folder(tmp_path), ["boot"], progress=False)
