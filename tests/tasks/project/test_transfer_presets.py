"""The published settings of transfers, as the files in presets/ set them."""

from __future__ import annotations

from pathlib import Path

import pytest

from seam.training.batches import whole_epochs
from tasks.project.change_params import change_params
from tasks.project.params import load_params
from tasks.project.transfer_params import TransferParams
from tests.defaults import ROOT, write_params

PRESETS = tuple(path.stem.removeprefix("transfer-") for path in sorted((ROOT / "presets").glob("transfer-*.yaml")))


@pytest.fixture
def presets(tmp_path: Path) -> dict[str, TransferParams]:
    """Name -> the section `transfer` of params.yaml with the preset over it."""
    found = {}
    for name in PRESETS:
        path = tmp_path / f"{name}.yaml"
        write_params(path)
        change_params(path, overlay=ROOT / "presets" / f"transfer-{name}.yaml")
        found[name] = load_params(path).transfer
    return found


def test_all_share_the_rates_of_the_protocol(presets: dict[str, TransferParams]) -> None:
    assert len(presets) == 5
    for name, preset in presets.items():
        training = preset.training
        assert (training.lr, training.weight_decay, training.momentum, training.batch_size) == (0.005, 1e-4, 0, 64)
        assert (training.removed_weights, training.schedule) == ("regrow", "constant")
        assert training.head_start == "random"
        assert training.lr_head == (0.005 if name == "remos-backdoor" else 0.05)
        assert preset.defect == ("backdoor" if name == "remos-backdoor" else "features")


def test_seam(presets: dict[str, TransferParams]) -> None:
    """Section 5.4, figures 6 and 7; figure 8 is the same with dropout, of which it gives no value."""
    seam, dropout = presets["seam"], presets["seam-dropout"]
    search = seam.search
    assert (search.method, search.rounds, search.lr_scores, search.lr_head) == ("drift", 300, 0.05, 0.001)
    assert (search.alpha, search.adam_eps, search.norm_layers) == (0.5, 1e-8, "frozen")
    assert (seam.removal, seam.training.epochs, seam.training.steps) == (0.5, 300, None)
    assert (seam.training.spatial_dropout, seam.training.label_smoothing, seam.training.keep) == (0, 0, "best")
    scratch = seam.retrain
    assert (scratch.lr, scratch.lr_head, scratch.momentum, scratch.weight_decay) == (0.1, 0.1, 0.5, 1e-4)
    assert (scratch.epochs, scratch.schedule, scratch.augment) == (300, "constant", "resized_crop_flip")
    assert (dropout.training.spatial_dropout, dropout.retrain.spatial_dropout) == (0.1, 0)
    assert (dropout.search, dropout.retrain, dropout.removal) == (seam.search, seam.retrain, seam.removal)


def test_remos(presets: dict[str, TransferParams]) -> None:
    small, large, backdoor = (presets[f"remos-{name}"] for name in ("resnet18", "resnet50", "backdoor"))
    assert (small.remos.ratio, large.remos.ratio, backdoor.remos.ratio) == (0.1, 0.03, 0.03)
    assert (small.remos.threshold, small.removal) == (0.5, 0.8)
    training = small.training
    assert (training.spatial_dropout, training.label_smoothing, training.keep) == (0.1, 0.1, "last")
    assert (training.steps, backdoor.training.steps) == (30_000, 10_000)
    # of 64 of the 5,360 images of MIT Indoor 67: 83.75 batches an epoch, the last is big enough
    assert (whole_epochs(training, 5360), whole_epochs(backdoor.training, 5360)) == (358, 120)
    assert large.training == training and (large.retrain, backdoor.retrain) == (small.retrain, small.retrain)
    scratch = small.retrain
    assert (scratch.lr, scratch.lr_head, scratch.momentum, scratch.weight_decay) == (0.01, 0.01, 0.9, 5e-3)
    assert (scratch.steps, scratch.keep, scratch.spatial_dropout) == (30_000, "last", 0)


def test_the_backdoored_source(presets: dict[str, TransferParams]) -> None:
    planted = presets["remos-backdoor"].backdoor
    assert (planted.share, planted.training.steps, planted.training.label_smoothing) == (0.2, 30_000, 0.1)
    assert (planted.training.lr, planted.training.lr_head) == (0.005, 0.005)
    assert (planted.training.keep, planted.training.augment) == ("last", "none")
