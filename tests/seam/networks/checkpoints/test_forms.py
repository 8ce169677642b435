"""The weights of one small network in the forms in which training code writes them, and what is said of each."""

import argparse
import logging
import warnings
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from seam.errors import SourceError, SuspectResultWarning
from seam.networks.checkpoints.read import read_state_dict
from seam.networks.state_dicts import load_tensors, load_weights


def small(classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    stages = OrderedDict(conv=nn.Conv2d(3, 4, 3), bn=nn.BatchNorm2d(4), body=nn.Sequential(nn.Conv2d(4, 4, 3)))
    return nn.Sequential(
        OrderedDict(**stages, pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), fc=nn.Linear(4, classes))
    )


def under(prefix: str, weights: dict) -> dict:
    return {prefix + k: v for k, v in weights.items()}


def scaled(weights: dict, by: float) -> dict:
    return {k: v * by if v.is_floating_point() else v for k, v in weights.items()}


WEIGHTS = small().state_dict()
NESTED = {k.replace("body.", "body._orig_mod.module."): v for k, v in WEIGHTS.items()}
BESIDE = {"criterion.weight": torch.ones(3), "train_acc.tp": torch.zeros(1), "model_loss.weight": torch.ones(3, 3)}
TRAINING = {"optimizer": {"state": {0: {"exp_avg": torch.ones(4, 3, 3, 3)}}, "param_groups": []}, "epoch": 3}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (WEIGHTS, None),
        (under("_orig_mod.", WEIGHTS), "under '_orig_mod'"),
        (under("module._orig_mod.", WEIGHTS), "under 'module._orig_mod'"),
        (under("_orig_mod.module.", WEIGHTS), "under '_orig_mod.module'"),
        (NESTED, "_orig_mod, module taken out of names"),
        ({"state_dict": {**under("model.", WEIGHTS), **BESIDE}}, "left out: state_dict.criterion.weight"),
        ({"state_dict": under("net._orig_mod.", WEIGHTS), **TRAINING}, "under 'state_dict.net._orig_mod'"),
        ({"state_dict": under("any.one.", WEIGHTS)}, "under 'state_dict.any.one'"),
        ({"model_state_dict": WEIGHTS, "optimizer_state_dict": TRAINING["optimizer"], "loss": 0.3}, "model_state_dict"),
        *(({name: WEIGHTS, "step": 3}, f"under '{name}'") for name in ("ema", "params", "network", "weights", "model")),
        ({**WEIGHTS, "total_ops": torch.zeros(1), "body.0.total_params": torch.zeros(1)}, "left out: total_ops"),
        ({k: v for k, v in WEIGHTS.items() if "num_batches" not in k}, None),
        ({k: v.half() if v.is_floating_point() else v for k, v in WEIGHTS.items()}, "float16 made float32"),
        ({"ema": scaled(WEIGHTS, 1), "n_averaged": torch.tensor(3)}, "under 'ema'"),
        ({"model": WEIGHTS, "state_dict": dict(WEIGHTS)}, "under 'model'"),  # twice the same
        ({"model": WEIGHTS, "args": argparse.Namespace(lr=0.1), "best": np.float64(0.5), "at": Path("a")}, "'model'"),
        ({"model": {k: v.numpy() for k, v in WEIGHTS.items()}}, "under 'model'"),
        ([{"params": WEIGHTS}], "under '0.params'"),
    ],
)
def test_read_with_one_line_of_what_was_done(content, said, tmp_path, caplog):
    torch.save(content, tmp_path / "w.pth")
    network = small()
    nn.init.zeros_(network.fc.weight)
    with caplog.at_level(logging.INFO, "seam"), warnings.catch_warnings():
        warnings.simplefilter("error", SuspectResultWarning)
        load_weights(network, tmp_path / "w.pth")
    exact = "float16" not in (said or "")
    for name, value in network.state_dict().items():
        expected = WEIGHTS[name] if exact or not value.is_floating_point() else WEIGHTS[name].half().float()
        assert torch.equal(value, expected), name
        assert value.dtype == WEIGHTS[name].dtype
    assert [said in r.getMessage() and "w.pth" in r.getMessage() for r in caplog.records] == ([True] if said else [])


@pytest.mark.parametrize(
    ("content", "averaged", "raw"),
    [
        ({"state_dict": WEIGHTS, "state_dict_ema": scaled(WEIGHTS, 2)}, "state_dict_ema", "state_dict"),
        (
            {"model": WEIGHTS, "model_ema": {**under("module.", scaled(WEIGHTS, 2)), "n_averaged": torch.tensor(9)}},
            "model_ema",
            "model",
        ),
        (
            {"raw": WEIGHTS, "other": {**under("module.", scaled(WEIGHTS, 2)), "n_averaged": torch.tensor(9)}},
            "other",
            "raw",
        ),
        ({"state_dict": {**under("net.", WEIGHTS), **under("net_ema.", scaled(WEIGHTS, 2))}}, "net_ema", "net"),
        ({**WEIGHTS, **under("ema.", scaled(WEIGHTS, 2))}, "ema", "."),
    ],
)
def test_of_averaged_and_raw_weights_the_averaged_are_taken_or_those_that_are_named(content, averaged, raw, tmp_path):
    torch.save(content, tmp_path / "w.pth")
    found, network = read_state_dict(tmp_path / "w.pth"), small()
    with pytest.warns(SuspectResultWarning, match=r"averaged \(EMA\) weights, .* are taken"):
        load_tensors(network, found, "w.pth")
    assert torch.equal(network.fc.weight, WEIGHTS["fc.weight"] * 2)
    for chosen, by in ((raw, 1), (averaged, 2)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            load_tensors(network, found, "w.pth", chosen)
        assert torch.equal(network.fc.weight, WEIGHTS["fc.weight"] * by)
    with pytest.raises(SourceError, match=r"called 'none' that fit, got .*; say which of them by name"):
        load_tensors(network, found, "w.pth", "none")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"generator": WEIGHTS, "discriminator": under("d.", WEIGHTS)}, r"fit: generator, discriminator\.d; say which"),
        (
            {"state_dict": {**under("student.", WEIGHTS), **under("teacher.", scaled(WEIGHTS, 2))}},
            r"student, .*\.teacher",
        ),
        ({"a": WEIGHTS, "b": scaled(WEIGHTS, 2), "ema": scaled(WEIGHTS, 3)}, "fit: a, b, ema"),
        (
            small(7).state_dict(),
            r"has 7 classes where 3 are asked for \('fc.weight' has shape \(7, 4\), .* num_classes",
        ),
        ({"model": under("module.", small(7).state_dict())}, "has 7 classes where 3 are asked for"),
        ({k.replace("fc.", "linear."): v for k, v in small(7).state_dict().items()}, "has 7 classes where 3 are asked"),
        ({**WEIGHTS, "conv.weight": torch.ones(4, 3, 5, 5)}, r"'conv.weight' has shape \(4, 3, 5, 5\), expected"),
        ({**WEIGHTS, "shortcut.weight": torch.ones(4, 4)}, "missing none, unexpected shortcut.weight"),
        (
            {"state_dict": {**under("net.", WEIGHTS), "net.fc2.weight": torch.ones(3, 3)}},
            "'state_dict.net'.*fc2.weight",
        ),
        ({k: v for k, v in under("net.", WEIGHTS).items() if "bias" not in k}, r"'net'\): missing conv.bias, bn.bias"),
        ({**WEIGHTS, "fc.weight": WEIGHTS["fc.weight"] / 0}, "'fc.weight' holds NaN or infinite"),
        ({**WEIGHTS, "fc.weight": WEIGHTS["fc.weight"].to(torch.int8)}, "'fc.weight' holds int8, expected floating"),
        ({**WEIGHTS, "fc.weight": WEIGHTS["fc.weight"].to_sparse()}, "'fc.weight' is quantised, sparse"),
    ],
)
def test_refused_with_its_own_line_and_nothing_is_loaded(content, said, tmp_path):
    torch.save(content, tmp_path / "w.pth")
    network = nn.Sequential(OrderedDict(small().named_children()))
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with pytest.raises(SourceError, match=said) as caught:
        load_weights(network, tmp_path / "w.pth")
    assert "\n" not in str(caught.value)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_layers_beside_the_weights_are_a_doubt(tmp_path):
    torch.save({"state_dict": {**under("model.", WEIGHTS), "head.weight": torch.ones(3, 3)}}, tmp_path / "w.pth")
    with pytest.warns(SuspectResultWarning, match=r"state_dict\.head\.weight beside the weights .* whole network"):
        load_weights(small(), tmp_path / "w.pth")


def test_a_network_that_is_wrapped_itself_takes_plain_weights_and_keeps_its_precision(tmp_path):
    torch.save(WEIGHTS, tmp_path / "w.pth")
    network = nn.DataParallel(small()).double()
    load_weights(network, tmp_path / "w.pth")
    assert torch.equal(network.module.fc.weight, WEIGHTS["fc.weight"].double())


def test_a_module_that_is_really_called_module_keeps_its_name(tmp_path):
    torch.manual_seed(0)
    network = nn.Sequential(OrderedDict(module=nn.Linear(2, 2), _orig_mod=nn.Linear(2, 2)))
    torch.save({"state_dict": network.state_dict()}, tmp_path / "w.pth")
    other = nn.Sequential(OrderedDict(module=nn.Linear(2, 2), _orig_mod=nn.Linear(2, 2)))
    load_weights(other, tmp_path / "w.pth")
    assert all(torch.equal(v, network.state_dict()[k]) for k, v in other.state_dict().items())
