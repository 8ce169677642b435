"""Bad input at the door: one typed line that says what was expected and what to do; the network stays as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import seam
from seam.door.arguments import own_copy
from seam.door.given import labelled
from seam.errors import ConfigError, DataError, ExportError, MaskError, SeamError, SourceError
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


def half_of_norms() -> nn.Module:
    network = trained()
    network.norm.running_mean = network.norm.running_mean.half()  # type: ignore[union-attr]
    return network


def norms_on_meta() -> nn.Module:
    network = trained()
    network.norm.running_var = torch.ones(32, device="meta")
    return network


class OneSize(nn.Sequential):
    """It reads every pixel."""


def for_one_size() -> nn.Module:
    return OneSize(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 14 * 14, 4))


class OnCuda(Net):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("Found no NVIDIA driver on your system")


def on_cuda() -> nn.Module:
    return OnCuda()


class Mixed(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).bfloat16()


def mixed() -> nn.Module:
    return Mixed()


class Different(Dataset[Any]):
    """Images of two sizes."""

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> Any:
        return X[index, :, : 16 - index % 2], int(Y[index])


class On:
    """Indices without an end."""

    def __iter__(self) -> Any:
        while True:
            yield from range(4)


BROKEN = X.clone()
BROKEN[2, 1, 0, 0] = torch.inf
PICTURES = [Image.fromarray(image) for image in pixels(32, 0)[0]]


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
    "images of one channel": (
        SourceError,
        "Net: expected a network that takes images of 1 channels, got one of 3; give images of 3 channels",
        {"train": (X[:, :1], Y), "val": None},
    ),
    "channels last": (
        SourceError,
        "give images of 3 channels, these before height and width",
        {"train": (X.permute(0, 2, 3, 1), Y), "val": None},
    ),
    "images of another size": (
        SourceError,
        "it does not take images of 12 x 16 pixels: .*; choose another size",
        {"train": (X[..., :12, :], Y), "val": None, "network": for_one_size},
    ),
    "another size than is asked for": (
        DataError,
        "train: expected images of 8 x 8 pixels, as image_size says, got 16 x 16",
        {"image_size": 8},
    ),
    "a data set of images of several sizes": (
        DataError,
        "Different: expected samples of one shape, got RuntimeError",
        {"train": Different()},
    ),
    "NaN in a data set": (DataError, "got NaN or infinite values at index 2", {"train": (TensorDataset(BROKEN, Y))}),
    "labels of text": (DataError, "train: expected labels as an array or tensor", {"train": (X, ["boot"] * 32)}),
    "labels of text in a data set": (
        DataError,
        "whole numbers, got str",
        {"train": list(zip(X, "ab" * 16, strict=True))},
    ),
    "pictures": (DataError, "train: expected images as an array .*, got Image", {"train": (PICTURES, Y)}),
    "images without labels": (DataError, "train: expected a folder, .*, got Tensor", {"train": X}),
    "images by name": (DataError, "train: expected a folder, .*, got dict", {"train": {"image": X, "label": Y}}),
    "names of nothing known": (
        DataError,
        "got a mapping with foto, klasse",
        {"train": [{"foto": x, "klasse": y} for x, y in zip(X, Y.tolist(), strict=True)]},
    ),
    "a loader without an end": (
        DataError,
        "loader that ends",
        {"train": DataLoader(TensorDataset(X, Y), sampler=On())},
    ),
    "a class beyond": (DataError, "unknown class '7'", {"classes": [7]}),
    "names that are one text": (DataError, "class_names: expected a list", {"class_names": "abcd"}),
    "a name twice": (DataError, "expected every name once, got 'a' twice", {"class_names": ["a", "b", "a", "c"]}),
    "a target beyond 1": (ConfigError, r"target must be in \(0, 1\], got 1.5", {"target": 1.5}),
    "a seed below 0": (ConfigError, "seed: expected a whole number of 0 or more, got -1", {"seed": -1}),
    "no side": (ConfigError, "image_size: expected the side in pixels", {"image_size": 0}),
    "a file for the state": (ConfigError, "folder: expected a folder for the state", {"folder": __file__}),
    "deviations of 0": (
        DataError,
        "deviations above 0",
        {"train": pixels(32, 0), "val": None, "mean": 0.5, "std": 0.0},
    ),
    "means of bytes": (
        DataError,
        "divide those",
        {"train": pixels(32, 0), "val": None, "mean": [127.0], "std": [60.0]},
    ),
    "a folder that is not there": (DataError, "no such folder", {"train": "/nowhere/shop"}),
    "half precision": (SourceError, r"call network.float\(\) first", {"network": half}),
    "another device": (SourceError, "on the meta device", {"network": on_meta}),
    "half of its statistics": (SourceError, "'norm.running_mean' is torch.float16", {"network": half_of_norms}),
    "statistics on another device": (SourceError, "'norm.running_var' is on the meta", {"network": norms_on_meta}),
    "a device of its own": (SourceError, "let it use that of its input", {"network": on_cuda}),
    "scores of half precision": (SourceError, "class scores in torch.float32, got torch.bfloat16", {"network": mixed}),
    "weights without a shape": (SourceError, "has no shape yet", {"network": lambda: nn.LazyConv2d(4, 3)}),
    "weights that are not finite": (SourceError, "'linear.weight' holds NaN or infinite", {"network": broken}),
    "no weights": (SourceError, "expected a network with weights", {"network": nn.Flatten}),
    "no class scores": (
        SourceError,
        "expected class scores of shape",
        {"network": lambda: nn.Conv2d(3, 4, 3)},
    ),
}


def _mark(network: nn.Module) -> None:
    """Leave it in training mode, with a frozen tensor and a hook, as a caller may have it."""
    network.train()
    for parameter in [p for p in network.parameters() if not is_lazy(p)][:1]:
        parameter.requires_grad_(False)
    network.register_forward_hook(lambda module, given, output: None)


def _state(network: nn.Module) -> Any:
    """All that a call must leave as it is."""
    modules = [(name, type(m), m.training, [*m._forward_hooks], [*vars(m)]) for name, m in network.named_modules()]
    tensors = {k: (v.dtype, v.device) for k, v in network.state_dict().items()}
    numbers = {k: v.tolist() for k, v in network.state_dict().items() if not (v.is_meta or is_lazy(v))}
    return modules, tensors, str(numbers), [p.requires_grad for p in network.parameters()]


@pytest.mark.parametrize("name", BAD)
def test_is_refused_in_one_line(name: str) -> None:
    kind, words, changed = BAD[name]
    make: Callable[[], Any] = changed.get("network", trained)
    network = make()
    _mark(network)
    before = _state(network)
    arguments = {"train": (X, Y), "val": floats(24, 1), "classes": [0, 2], **changed, "network": network}
    with pytest.raises(kind, match=words) as caught:
        seam.reengineer(**arguments, progress=False)
    assert "\n" not in str(caught.value)
    assert _state(network) == before


OTHER_TYPES = """
import numpy as np, torch
from torch import nn
import seam
X, Y = torch.randn(8, 3, 8, 8), torch.arange(8) % 4
def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))
def made(**changed):
    seam.reengineer(**{"network": network(), "train": (X, Y), "val": (X, Y), "classes": [0], **changed}, progress=False)
calls = [
    lambda: made(network="net.pth"),
    lambda: made(classes=None),
    lambda: made(classes=[1.5]),
    lambda: made(target="0.4"),
    lambda: made(device="gpu"),
    lambda: made(seed="x"),
    lambda: made(training={"epochs": 1}),
    lambda: made(image_size=(8, 8)),
    lambda: made(train=((X * 50).byte().permute(0, 2, 3, 1), Y), val=None, mean="imagenet", std="imagenet"),
    lambda: seam.transfer(network(), (X, Y), val=(X, Y), method=None),
    lambda: seam.transfer(network(), (X, Y), val=(X, Y), config={}),
    lambda: seam.compact(network(), "masks.safetensors", X),
    lambda: seam.compact(network(), {"0.weight": torch.ones(4, 3, 3, 3)}, X),
    lambda: seam.compact(network(), {"0.weight": np.ones((4, 3, 3, 3), bool)}, X),
    lambda: seam.compact(network(), {}, (1, 3, 8, 8)),
    lambda: seam.export(network(), 3, X),
    lambda: seam.export(network().state_dict(), "x.onnx", X),
    lambda: seam.export(network(), "x.onnx", (1, 3, 8, 8)),
]
for call in calls:
    try:
        call()
        print("nothing was said")
    except seam.errors.SeamError as e:
        print(type(e).__name__, e)
"""
SAID = (
    "SourceError expected a torch.nn.Module, got str",
    "DataError classes: expected names or numbers of classes, got None",
    "DataError classes: expected names or numbers of classes, got 1.5",
    "ConfigValueError target must be in (0, 1], got '0.4'",
    "ConfigValueError device must be one of auto, cpu, cuda, got 'gpu'",
    "ConfigError seed: expected a whole number of 0 or more, got 'x'",
    "ConfigError training: expected a FinetuneConfig, got dict",
    "ConfigError image_size: expected the side in pixels, a whole number, got (8, 8)",
    "DataError mean and std: expected numbers, got 'imagenet'",
    "ConfigError expected a method, one of standard, ",
    "ConfigError config: expected a TransferConfig, got dict",
    "MaskError expected masks by the names of parameters, got str",
    "MaskError mask for '0.weight': expected a torch.bool tensor, True where kept, got torch.float32 on cpu",
    "MaskError mask for '0.weight': expected a torch.bool tensor, True where kept, got ndarray",
    "DataError example: expected images as the network takes them, shape (batch, channels, height, width), got tuple",
    "ExportError path: expected the name of a file, got int",
    "ExportError expected a network, or what seam made of one, got OrderedDict",
    "DataError example: expected images as the network takes them, shape (batch, channels, height, width), got tuple",
)


def test_arguments_of_other_types_are_refused_in_one_line(tmp_path: Path) -> None:
    """In a process of its own, where nothing checks the types of arguments."""
    paths = {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", OTHER_TYPES]
    ran = subprocess.run(command, cwd=tmp_path, env={**os.environ, **paths}, capture_output=True, text=True, check=True)
    said = ran.stdout.splitlines()
    assert len(said) == len(SAID)
    for got, words in zip(said, SAID, strict=True):
        assert got.startswith(words)
    assert not any(tmp_path.iterdir())


NOT_COMPACTED: dict[str, tuple[type[SeamError], str, dict[str, Any]]] = {
    "half precision": (SourceError, r"call network.float\(\) first", {"network": half}),
    "no numbers": (SourceError, "on the meta device", {"network": on_meta}),
    "images of one channel": (SourceError, "give images of 3 channels", {"example": X[:1, :1]}),
    "images of another size": (SourceError, "does not take images of 12 x 16", {"network": for_one_size}),
    "a mask of nothing": (MaskError, "the network has no such weight", {"masks": {"x": torch.ones(3) > 0}}),
    "a mask of another shape": (MaskError, r"has shape \(3,\)", {"masks": {"a.weight": torch.ones(3) > 0}}),
    "a mask of numbers": (MaskError, "expected a torch.bool tensor", {"masks": {"a.bias": torch.ones(64)}}),
}


@pytest.mark.parametrize("name", NOT_COMPACTED)
def test_is_not_compacted(name: str) -> None:
    kind, words, changed = NOT_COMPACTED[name]
    network = changed.get("network", trained)()
    _mark(network)
    before = _state(network)
    with pytest.raises(kind, match=words) as caught:
        seam.compact(network, changed.get("masks", {}), changed.get("example", X[:1, :, :12]))
    assert "\n" not in str(caught.value)
    assert _state(network) == before


NOT_EXPORTED: dict[str, tuple[type[SeamError], str, dict[str, Any]]] = {
    "no numbers": (SourceError, "on the meta device", {"network": on_meta}),
    "no shape": (SourceError, "has no shape yet", {"network": lambda: nn.LazyConv2d(4, 3)}),
    "images of one channel": (ExportError, "give images of 3 channels", {"example": X[:1, :1]}),
    "images of another size": (ExportError, "does not take images of 12 x 16", {"network": for_one_size}),
    "a folder of this name": (ExportError, "got one that is a folder", {"path": "folder.onnx"}),
    "below a file": (ExportError, "which is a file", {"path": "file/x.onnx"}),
}


@pytest.mark.parametrize("name", NOT_EXPORTED)
def test_is_not_exported(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "file").write_text("x")
    kind, words, changed = NOT_EXPORTED[name]
    network = changed.get("network", trained)()
    _mark(network)
    before = _state(network)
    with pytest.raises(kind, match=words) as caught:
        seam.export(network, tmp_path / changed.get("path", "x.onnx"), changed.get("example", X[:1, :, :12]))
    assert "\n" not in str(caught.value)
    assert _state(network) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.onnx"]


def test_a_student_needs_images_of_every_class() -> None:
    two = Y != 2
    with pytest.raises(DataError, match="train: expected images of every class, none of: 2; add some"):
        seam.transfer(trained(), (X[two], Y[two]), val=(X, Y), progress=False)
    with pytest.raises(DataError, match="val: expected images of every class, none of: 2; add some"):
        seam.transfer(trained(), (X, Y), val=(X[two], Y[two]), progress=False)
    with pytest.raises(DataError, match="train: expected images of two or more classes, got 1"):
        seam.transfer(trained(), (X, Y * 0), val=(X, Y * 0), progress=False)


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
    train = folder(tmp_path)
    Image.fromarray(np.zeros((20, 16, 3), np.uint8)).save(train / "boot" / "000.png")
    with pytest.raises(DataError, match="expected images of one size, got"):
        seam.reengineer(trained(), train, ["boot", "hat"], progress=False)


def test_a_network_of_many_classes_and_a_folder_of_few(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"10 outputs and the images have 4 classes.*class_names.*seam\.transfer"):
        seam.reengineer(Net(10).eval(), folder(tmp_path), ["boot"], progress=False)
