"""Fine-tuning: what stays removed, what negatives it sees, what a teacher does."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from seam.configs.training import FinetuneConfig
from seam.data.images import LabelledImages
from seam.masks.masks import apply_masks
from seam.networks.head import Reengineered, TargetHead
from seam.networks.predict import accuracy, predict
from seam.networks.source import Preprocess
from seam.training.distillation import TEMPERATURE, distilled
from seam.training.finetune import finetune
from tests.seam.training.bright import RUNTIME, of_one_shade, small_network, two_shades


def test_fine_tuning_sees_the_negatives_that_train_left_over():
    """Bright images are negatives only among the spare ones."""
    wanted, dark, bright = of_one_shade(0, 100), of_one_shade(1, 0), of_one_shade(1, 200, 60)
    train_data = LabelledImages(torch.cat([wanted.images, dark.images]), torch.cat([wanted.labels, dark.labels]))
    val_data = LabelledImages(torch.cat([wanted.images, bright.images]), torch.cat([wanted.labels, bright.labels]))
    config = FinetuneConfig(
        epochs=30, lr=0.05, lr_head=0.05, momentum=0.9, schedule="cosine", augment="none", batch_size=8
    )
    found = {}
    for name, spare in (("without", None), ("with", bright)):
        torch.manual_seed(0)
        model = Reengineered(small_network(), TargetHead(2, 2))
        finetune(
            model, None, Preprocess((0.4,) * 3, (0.3,) * 3), train_data, val_data, config, RUNTIME, seed=0, spare=spare
        )
        found[name] = accuracy(predict(model, val_data, Preprocess((0.4,) * 3, (0.3,) * 3)), val_data.labels)
    assert found["with"] > 0.95 > found["without"]


def _finetuned(removed_weights):
    model = Reengineered(small_network(), TargetHead(2, 2))
    generator = torch.Generator().manual_seed(1)
    masks = {
        "0.weight": torch.rand(4, 3, 3, 3, generator=generator) > 0.5,
        "5.weight": torch.rand(2, 4, generator=generator) > 0.5,
    }
    apply_masks(model.network, masks)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    config = FinetuneConfig(
        epochs=30, lr=0.3, lr_head=0.3, augment="none", removed_weights=removed_weights, batch_size=8
    )
    history = finetune(
        model, masks, Preprocess((0.5,) * 3, (0.25,) * 3), two_shades(), two_shades(20, 1), config, RUNTIME, seed=0
    )
    return model, masks, before, history


def test_removed_weights_stay_exactly_zero():
    model, masks, before, history = _finetuned("zero")
    for name, mask in masks.items():
        weight = model.network.get_parameter(name)
        assert torch.all(weight[~mask] == 0)
    assert len(history) == 31
    assert max(e.val_accuracy for e in history) > history[0].val_accuracy  # so a trained epoch was kept
    assert not torch.equal(before["network.0.weight"], model.network[0].weight)


def test_regrow_lets_them_train_again():
    model, masks, _, history = _finetuned("regrow")
    assert max(e.val_accuracy for e in history) > history[0].val_accuracy
    assert (model.network[0].weight[~masks["0.weight"]] != 0).any()


def test_channels_that_nothing_reads_are_left_out_of_fine_tuning_and_it_ends_the_same(tmp_path, monkeypatch):
    def network():
        torch.manual_seed(0)
        wide = [nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.BatchNorm2d(16), nn.ReLU()]
        return nn.Sequential(*wide, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2))

    few = torch.arange(16) < 8
    masks = {
        "0.weight": few.view(16, 1, 1, 1).expand(16, 3, 3, 3),
        "3.weight": (few.view(16, 1) & few).view(16, 16, 1, 1).expand(16, 16, 3, 3),
    }
    masks["8.weight"] = few.expand(2, 16) & (torch.arange(32).view(2, 16) != 3)
    config = FinetuneConfig(
        epochs=6,
        lr=0.05,
        lr_head=0.05,
        momentum=0.9,
        schedule="cosine",
        weight_decay=1e-3,
        augment="crop",
        batch_size=8,
        distill=1.0,
    )
    teacher = network().eval().requires_grad_(False)

    def tuned(checkpoint, on_epoch=None):
        model = Reengineered(network(), TargetHead(2, 2))
        torch.manual_seed(2)
        nn.init.normal_(model.head.linear.weight)
        apply_masks(model.network, masks)
        data = (Preprocess((0.5,) * 3, (0.25,) * 3), two_shades(), two_shades(20, 1))
        return model, finetune(
            model,
            masks,
            *data,
            config,
            RUNTIME,
            seed=0,
            teacher=teacher,
            checkpoint=checkpoint,
            key="k",
            on_epoch=on_epoch,
        )

    def kill(epoch):
        if epoch.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tuned(tmp_path / "narrow", kill)
    assert "now.network.0.weight" in (kept := load_file(tmp_path / "narrow"))
    assert len(kept["now.network.0.weight"]) == 8
    narrow_model, narrow_history = tuned(tmp_path / "narrow")
    monkeypatch.setattr("seam.training.finetune.narrow", lambda *_: None)
    wide_model, wide_history = tuned(tmp_path / "wide")
    assert [e.val_accuracy for e in narrow_history] == [e.val_accuracy for e in wide_history]
    assert wide_history[-1].val_accuracy > wide_history[0].val_accuracy
    for name, weight in wide_model.network.named_parameters():
        read = masks.get(name, few) if len(weight) == 16 else masks.get(name, torch.ones_like(weight, dtype=torch.bool))
        torch.testing.assert_close(narrow_model.network.get_parameter(name)[read], weight[read], rtol=1e-3, atol=1e-5)
    images = Preprocess((0.5,) * 3, (0.25,) * 3)(two_shades(20, 1).images)
    torch.testing.assert_close(narrow_model(images), wide_model(images), rtol=1e-3, atol=1e-4)


def test_distillation_by_hand():
    """Cross-entropy on the head plus T^2 times the divergence of the network's softened answers from the teacher's."""
    model, teacher = Reengineered(nn.Linear(2, 3), TargetHead(3, 2)), nn.Linear(2, 3)
    images, labels = torch.tensor([[1.0, 2.0], [-1.0, 0.5]]), torch.tensor([0, 1])
    found = distilled(model, teacher, 0.5)(images, labels).sum()
    with torch.no_grad():
        own, wanted = (torch.softmax(network(images) / TEMPERATURE, 1) for network in (model.network, teacher))
        divergence = (wanted * (wanted / own).log()).sum() / 2
        answers = torch.log_softmax(model.head(model.network(images)), 1)
        expected = -(answers[0, 0] + answers[1, 1]) / 2 + 0.5 * TEMPERATURE**2 * divergence
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    found.backward()
    assert model.network.weight.grad is not None
    assert teacher.weight.grad is None


def test_a_distilled_network_stays_closer_to_the_source():
    torch.manual_seed(1)
    teacher = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    ).eval()
    images = Preprocess((0.5,) * 3, (0.25,) * 3)(two_shades().images)
    away = {}
    for weight in (0.0, 10.0):
        torch.manual_seed(0)
        model = Reengineered(small_network(), TargetHead(2, 2))
        config = FinetuneConfig(epochs=20, lr=0.02, lr_head=0.02, augment="none", batch_size=8, distill=weight)
        finetune(
            model,
            None,
            Preprocess((0.5,) * 3, (0.25,) * 3),
            two_shades(),
            two_shades(20, 1),
            config,
            RUNTIME,
            seed=0,
            teacher=teacher,
        )
        with torch.no_grad():
            own, wanted = (torch.log_softmax(network(images), 1) for network in (model.network, teacher))
        away[weight] = float(nn.functional.kl_div(own, wanted, log_target=True, reduction="batchmean"))
    assert away[10.0] < 0.5 * away[0.0]
