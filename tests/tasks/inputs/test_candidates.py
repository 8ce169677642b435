"""What the names of candidates stand for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import SqueezeNet1_1_Weights

from seam.errors import SourceError
from seam.networks.build import build
from seam.networks.state_dicts import save_weights
from tasks.inputs.candidates import Shelf, licence_of, outputs_of, split_name
from tasks.project.stage_configs import SelectionConfig


def shelf(root: Path, *candidates: str) -> Shelf:
    return Shelf(root, SelectionConfig(candidates=candidates), (3, 32, 32), (0.4,), (0.2,))


@pytest.mark.parametrize(
    ("given", "architecture", "checkpoint"),
    [
        ("weights/a.pth", None, "weights/a.pth"),
        ("torchvision:resnet18", "torchvision:resnet18", "torchvision:DEFAULT"),
        ("torchvision:resnet18=torchvision:IMAGENET1K_V1", "torchvision:resnet18", "torchvision:IMAGENET1K_V1"),
        ("net.py:small=small.safetensors", "net.py:small", "small.safetensors"),
        ("https://host/net.pth?key=1", None, "https://host/net.pth?key=1"),
        ("models:/seam-x@champion", None, "models:/seam-x@champion"),
    ],
)
def test_names(given: str, architecture: str | None, checkpoint: str) -> None:
    assert split_name(given) == (architecture, checkpoint)


def test_the_architecture_is_found_by_what_takes_the_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build("resnet20_a", 7)
    torch.save({"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}, tmp_path / "wrapped.th")
    ((candidate, found),) = shelf(tmp_path, "wrapped.th").candidates().values()
    loaded = candidate.load()
    assert (found.architecture, found.outputs, found.mean) == ("resnet20_a", 7, (0.4,))
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    assert set(found.files) == {"wrapped.th"}


def test_weights_that_fit_nothing_say_what_to_do(tmp_path: Path) -> None:
    save_file({"a.weight": torch.zeros(3, 4)}, tmp_path / "odd.safetensors")
    ((candidate, _),) = shelf(tmp_path, "odd.safetensors").candidates().values()
    with pytest.raises(SourceError, match=r"expected weights of a known architecture .* name it before the file"):
        candidate.load()


def test_a_folder_is_every_network_in_it(tmp_path: Path) -> None:
    for name in ("b.safetensors", "a.pth", "readme.txt"):
        (tmp_path / "zoo").mkdir(exist_ok=True)
        (tmp_path / "zoo" / name).write_bytes(b"")
    assert list(shelf(tmp_path, "zoo").candidates()) == ["zoo/a.pth", "zoo/b.safetensors"]


def test_what_torchvision_says_of_its_weights(tmp_path: Path) -> None:
    ((candidate, found),) = shelf(tmp_path, "torchvision:squeezenet1_1").candidates().values()
    transforms = SqueezeNet1_1_Weights.DEFAULT.transforms()
    assert (found.mean, found.std) == (tuple(transforms.mean), tuple(transforms.std))
    assert candidate.public and candidate.origin == f"torchvision, {SqueezeNet1_1_Weights.DEFAULT.name}"


def test_licences_come_from_the_file_or_the_card_beside_it(tmp_path: Path) -> None:
    save_weights(build("resnet20", 10), tmp_path / "a.safetensors")
    assert licence_of(tmp_path / "a.safetensors") == "unknown"
    (tmp_path / "README.md").write_text("---\ntags: [x]\nlicense: apache-2.0\n---\n# A\nlicense: other\n")
    assert licence_of(tmp_path / "a.safetensors") == "apache-2.0"
    save_file({"w": torch.zeros(2)}, tmp_path / "b.safetensors", metadata={"License": "MIT"})
    assert licence_of(tmp_path / "b.safetensors") == "MIT"


def test_scores_are_those_of_the_networks_last_layer_whatever_the_order_in_the_file() -> None:
    network = build("vgg16_bn_cifar", 10)
    tensors = dict(sorted(build("vgg16_bn_cifar", 23).state_dict().items()))
    assert outputs_of(network, {f"model.{k}": v for k, v in tensors.items()}) == 23
