"""Weights that leave one by one while the rest trains."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from seam.configs.training import FinetuneConfig
from seam.masks.masks import Masks, apply_masks, whole_channels
from seam.networks.head import Reengineered, TargetHead
from seam.networks.source import Preprocess
from seam.training.doubts import doubt_training
from seam.training.finetune import finetune
from seam.training.loop import Epoch, best_epoch
from seam.training.removal import RAMP, Gradual
from tests.seam.training.bright import RUNTIME, two_shades

CONFIG = FinetuneConfig(
    epochs=10,
    lr=0.1,
    lr_head=0.1,
    momentum=0.9,
    schedule="cosine",
    augment="none",
    batch_size=8,
    removed_weights="gradual",
)


def _network() -> nn.Module:
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.BatchNorm2d(6), nn.ReLU()]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))


def _masks() -> dict[str, torch.Tensor]:
    """Two channels of the first convolution as a whole, and three quarters of the other weights."""
    generator = torch.Generator().manual_seed(1)
    masks = {
        name: torch.rand(p.shape, generator=generator) > 0.75 for name, p in _network().named_parameters() if p.ndim > 1
    }
    masks["0.weight"][:2] = False
    masks["3.weight"][:, :2] = False
    return masks


def _tuned(masks: Masks, config: FinetuneConfig = CONFIG, **resume):
    torch.manual_seed(2)
    model = Reengineered(_network(), TargetHead(2, 2))
    data = (Preprocess((0.5,) * 3, (0.25,) * 3), two_shades(), two_shades(20, 1))
    return model, finetune(model, masks, *data, config, RUNTIME, seed=0, **resume)


def test_the_smallest_weights_leave_along_a_cubic_and_stay_away():
    layer = nn.Linear(10, 1, bias=False)
    layer.weight.data = torch.arange(1.0, 11)[None]
    removal = Gradual(layer, {}, ["weight"], 2)
    removal.before_step(0, 0.0)
    assert layer.weight.count_nonzero() == 10
    removal.before_step(8, RAMP / 2)  # 2 + 8 / 8
    assert layer.weight.nonzero()[:, 1].tolist() == [7, 8, 9]
    layer.weight.data += 1
    removal.before_step(9, 0.9 * RAMP)  # between two choices
    removal.after_step()
    assert layer.weight.nonzero()[:, 1].tolist() == [7, 8, 9]
    removal.before_step(16, RAMP)
    assert layer.weight.nonzero()[:, 1].tolist() == [8, 9]
    assert not removal.complete(0.99 * RAMP) and removal.complete(RAMP)


@pytest.mark.parametrize("epochs", [10, 2, 1, 0])
def test_as_many_are_kept_as_the_masks_keep_and_channels_go_whole(epochs):
    masks = _masks()
    model, history = _tuned(masks, replace(CONFIG, epochs=epochs))
    kept = sum(int(model.network.get_parameter(name).count_nonzero()) for name in masks)
    assert kept == sum(int(mask.sum()) for mask in masks.values())
    for name in masks:
        weight = model.network.get_parameter(name)
        assert not weight[~whole_channels(masks)[name]].any(), name
    if epochs == 10:
        others = [(model.network.get_parameter(n) != 0).ne(m).any() for n, m in masks.items()]
        assert any(others)  # which ones is for the training to say
        assert [e.complete for e in history] == [n >= RAMP * epochs for n in range(epochs + 1)]
        assert best_epoch(history).val_accuracy > 0.9


def test_an_epoch_with_more_weights_is_not_kept_nor_doubted():
    history = [Epoch(0, None, 0.9, complete=False), Epoch(1, 0.1, 0.95, 0.1, complete=False), Epoch(2, 0.3, 0.7, 0.3)]
    assert best_epoch(history) is history[2]
    doubt_training("fine-tuning", history, 2)  # warnings are errors


def test_one_that_was_stopped_ends_the_same(tmp_path):
    class Stop(Exception):
        pass

    def stop(epoch: Epoch) -> None:
        if epoch.epoch == 3:
            raise Stop

    masks = _masks()
    whole, history = _tuned(masks)
    resume = {"checkpoint": tmp_path / "state.safetensors", "key": "k"}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("seam.checkpoint.Pacer.due", lambda self: True)
        with pytest.raises(Stop):
            _tuned(masks, **resume, on_epoch=stop)
    again, rest = _tuned(masks, **resume)
    assert rest == history
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_whole_channels_are_what_a_mask_removes_of_outputs_and_inputs():
    mask = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 0, 0]], dtype=torch.bool)
    wanted = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 0, 1]], dtype=torch.bool)
    assert torch.equal(whole_channels({"w": mask})["w"], wanted)
    network = copy.deepcopy(_network())
    apply_masks(network, whole_channels(_masks()))
    assert not network.get_parameter("0.weight")[:2].any()
