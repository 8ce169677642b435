"""Checkpoints in the wild, and bad ones."""

import logging
import os
import pickle
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from seam.errors import ConfigError, SourceError
from seam.networks.build import build
from seam.networks.checkpoints.read import read_state_dict
from seam.networks.resnet_cifar import PaddedShortcut
from seam.networks.state_dicts import load_weights, save_weights


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2))


def _same(a, b):
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}},
    ],
)
def test_wrapped_state_dicts_load(network, tmp_path, wrap):
    torch.save(wrap(network.state_dict()), tmp_path / "w.pth")
    other = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2))
    load_weights(other, tmp_path / "w.pth")
    assert _same(network, other)


def test_saved_weights_have_the_same_bytes_each_time(network, tmp_path):
    save_weights(network, tmp_path / "a")
    save_weights(network, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(network, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Evil()))
    torch.save({"state_dict": Evil()}, tmp_path / "evil2.pt")
    for name in ("evil.pt", "evil2.pt"):
        with pytest.raises(SourceError, match="would execute code"):
            load_weights(network, tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_missing_truncated_and_foreign_files(network, tmp_path):
    with pytest.raises(SourceError, match="no such checkpoint file"):
        read_state_dict(tmp_path / "none.pt")
    for suffix in (".pt", ".safetensors"):
        good = tmp_path / f"good{suffix}"
        torch.save(network.state_dict(), good) if suffix == ".pt" else save_file(network.state_dict(), good)
        cut = tmp_path / f"cut{suffix}"
        cut.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
        with pytest.raises(SourceError, match=f"cut{suffix}: expected a checkpoint, got a damaged or truncated file"):
            read_state_dict(cut)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(SourceError, match="expected a state dict"):
        read_state_dict(tmp_path / "list.pt")


def test_wrong_shapes_keys_and_nan_name_the_weight(network, tmp_path):
    save_file(nn.Sequential(nn.Conv2d(3, 2, 5), nn.BatchNorm2d(2)).state_dict(), tmp_path / "wide.safetensors")
    with pytest.raises(SourceError, match=r"'0.weight' has shape \(2, 3, 5, 5\), expected \(2, 3, 3, 3\)"):
        load_weights(network, tmp_path / "wide.safetensors")
    save_file({"0.weight": torch.zeros(2, 3, 3, 3)}, tmp_path / "few.safetensors")
    with pytest.raises(SourceError, match=r"missing 0.bias, 1.weight, 1.bias and 2 more"):
        load_weights(network, tmp_path / "few.safetensors")
    bad = network.state_dict()
    bad["0.bias"] = torch.tensor([0.0, float("nan")])
    save_file(bad, tmp_path / "nan.safetensors")
    with pytest.raises(SourceError, match=r"'0\.bias' holds NaN"):
        load_weights(network, tmp_path / "nan.safetensors")


def _named(**modules):
    torch.manual_seed(0)
    return nn.Sequential(OrderedDict({"stem": nn.Conv2d(3, 2, 3), **modules}))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"linear": nn.Linear(2, 3)}, {"fc": nn.Linear(2, 3)}),
        ({"norm": nn.BatchNorm2d(2)}, {"bn": nn.BatchNorm2d(2)}),
        (
            {"head": nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3))},
            {"fc": nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3))},
        ),
        (
            {"c": nn.Sequential(OrderedDict(a=nn.Linear(2, 2), b=nn.Linear(2, 3)))},
            {"c": nn.Sequential(OrderedDict(a=nn.Linear(2, 2), z=nn.Linear(2, 3)))},
        ),
    ],
)
def test_one_module_under_another_name_is_renamed_and_said(tmp_path, caplog, theirs, ours):
    network, other = _named(**theirs), _named(**ours)
    torch.save(network.state_dict(), tmp_path / "w.pt")
    with caplog.at_level(logging.INFO, "seam"):
        load_weights(other, tmp_path / "w.pt")
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), other.state_dict().values(), strict=True)
    )
    assert len(caplog.records) == 1 and "is loaded as that" in caplog.text and "w.pt" in caplog.text


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"linear": nn.Linear(2, 4)}, {"fc": nn.Linear(2, 3)}),  # another shape
        ({"linear": nn.Linear(2, 3, bias=False)}, {"fc": nn.Linear(2, 3)}),  # another number of weights
        ({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)}, {"c": nn.Linear(2, 2), "d": nn.Linear(2, 2)}),  # two modules
        ({"fc": nn.Linear(2, 3, bias=False), "linear": nn.Linear(2, 3)}, {"fc": nn.Linear(2, 3)}),  # part of a module
    ],
)
def test_any_other_difference_of_names_is_refused(tmp_path, theirs, ours):
    torch.save(_named(**theirs).state_dict(), tmp_path / "w.pt")
    other = _named(**ours)
    before = {k: v.clone() for k, v in other.state_dict().items()}
    with pytest.raises(SourceError, match=r"keys do not match the architecture: missing .*, unexpected |has shape"):
        load_weights(other, tmp_path / "w.pt")
    assert all(torch.equal(v, before[k]) for k, v in other.state_dict().items())


@pytest.mark.skipif(
    "SEAM_SHARED_DATA" not in os.environ, reason="SEAM_SHARED_DATA does not name the folder with published weights"
)
@pytest.mark.parametrize("name", ["cifar10_resnet20_shortcutA.safetensors", "cifar10_resnet20_shortcutA_wrapped.th"])
def test_published_weights_of_the_shortcut_without_weights_load(name):
    network = build("resnet20_a", 10)
    path = Path(os.environ["SEAM_SHARED_DATA"]) / "weights" / name
    load_weights(network, path)
    assert torch.equal(
        network.fc.weight, next(v for k, v in read_state_dict(path).items() if k.endswith("linear.weight"))
    )


def test_shortcut_without_weights_slices_and_pads():
    x = torch.arange(2 * 3 * 4 * 4, dtype=torch.float32).view(2, 3, 4, 4)
    out = PaddedShortcut(3, 6, 2)(x)
    assert out.shape == (2, 6, 2, 2)
    assert torch.equal(out[:, 1:4], x[:, :, ::2, ::2])
    assert not out[:, [0, 4, 5]].any()


def test_an_architecture_of_timm_needs_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"timm cannot be imported .* install it with pip install 'seam\[timm\]'"):
        build("timm:resnet18", 5)


def test_architectures_by_name_from_timm():
    pytest.importorskip("timm", reason="the extra `timm` is not installed")
    assert build("timm:resnet10t", 5)(torch.zeros(2, 3, 32, 32)).shape == (2, 5)
    with pytest.raises(ConfigError, match="no model of that name"):
        build("timm:nope", 5)


def test_architectures_by_name_from_torchvision_and_from_a_file(tmp_path):
    assert build("resnet20", 7)(torch.zeros(2, 3, 8, 8)).shape == (2, 7)
    assert build("resnet32_a", 7)(torch.zeros(2, 3, 9, 9)).shape == (2, 7)
    assert build("vgg16_bn_cifar", 7)(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert build("torchvision:squeezenet1_1", 4).num_classes == 4
    file = tmp_path / "mine.py"
    file.write_text(
        "from torch import nn\ndef net(num_classes):\n    return nn.Linear(3, num_classes)\ndef broken(num_classes):\n "
        "   return 1 / 0\n"
    )
    assert build(f"{file}:net", 5).out_features == 5
    for architecture, said in (
        ("resnet21", "expected resnet20"),
        ("torchvision:nope", "no model of that name"),
        (f"{tmp_path}/none.py:f", "no such Python file"),
        (f"{file}:broken", "ZeroDivisionError"),
        (f"{file}:absent", "AttributeError"),
    ):
        with pytest.raises(ConfigError, match=said):
            build(architecture, 5)
