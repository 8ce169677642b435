"""Batches, the training loop and fine-tuning."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from seam.configs.runtime import RuntimeConfig
from seam.configs.training import FinetuneConfig
from seam.data.images import LabelledImages, redrawn
from seam.errors import SourceError
from seam.masks.masks import apply_masks
from seam.networks.head import Reengineered, TargetHead
from seam.networks.predict import accuracy, predict
from seam.networks.source import Preprocess
from seam.runtime import start
from seam.training.batches import training_batches
from seam.training.finetune import TEMPERATURE, distilled, finetune
from seam.training.loop import TrainingPlan, train

RUNTIME = start(RuntimeConfig(device="cpu", precision="fp32", threads=1), pixels=64)
IDENTITY = Preprocess((0.0,) * 3, (1 / 255,) * 3)  # pixels come out as they are stored


@pytest.fixture(autouse=True)
def _every_round_is_saved(monkeypatch):
    monkeypatch.setattr("seam.checkpoint.SAVE_SECONDS", 0.0)


def _data(count=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    images = torch.randint(0, 100, (count, 8, 8, 1), generator=generator) + 100 * labels[:, None, None, None]
    return LabelledImages(images.to(torch.uint8), labels)


def _pixels(batches):
    return torch.cat([x[:, 0] for x, _ in batches])


def test_an_epoch_without_augmentation_is_a_permutation():
    data = _data()
    seen = torch.cat([y for _, y in training_batches(data, IDENTITY, 8, "none", 0, 0)])
    assert sorted(seen.tolist()) == sorted(data.labels.tolist())
    pixels = _pixels(training_batches(data, IDENTITY, 8, "none", 0, 0))
    assert torch.equal(pixels.sum((1, 2)).sort().values, data.images.float().sum((1, 2, 3)).sort().values)


def test_batches_are_a_function_of_seed_and_epoch():
    data = _data()
    first, again = (_pixels(training_batches(data, IDENTITY, 8, "crop_flip", 1, 5)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, _pixels(training_batches(data, IDENTITY, 8, "crop_flip", 1, 6)))
    assert not torch.equal(first, _pixels(training_batches(data, IDENTITY, 8, "crop_flip", 2, 5)))


def _bright(label, value, count=20):
    return LabelledImages(torch.full((count, 8, 8, 1), value, dtype=torch.uint8), torch.full((count,), label))


def test_negatives_are_drawn_anew_for_every_epoch():
    wanted, first, more = _bright(0, 50), _bright(1, 100), _bright(1, 150, 60)
    train_data = LabelledImages(torch.cat([wanted.images, first.images]), torch.cat([wanted.labels, first.labels]))
    draw = redrawn(train_data, more)
    one, again, other = draw.epoch(0, 1), draw.epoch(0, 1), draw.epoch(0, 2)
    assert torch.equal(one.images, again.images)
    assert not torch.equal(one.images, other.images)
    for epoch in (one, other):
        assert epoch.labels.tolist() == [0] * 20 + [1] * 20
        assert (epoch.images[:20] == 50).all()
        assert set(epoch.images[20:].flatten().tolist()) == {100, 150}
    assert redrawn(train_data, None) is None


def test_fine_tuning_sees_the_negatives_that_train_left_over():
    """Bright images are negatives only among the spare ones."""
    wanted, dark, bright = _bright(0, 100), _bright(1, 0), _bright(1, 200, 60)
    train_data = LabelledImages(torch.cat([wanted.images, dark.images]), torch.cat([wanted.labels, dark.labels]))
    val_data = LabelledImages(torch.cat([wanted.images, bright.images]), torch.cat([wanted.labels, bright.labels]))
    config = FinetuneConfig(
        epochs=30, lr=0.05, lr_head=0.05, momentum=0.9, schedule="cosine", augment="none", batch_size=8
    )
    found = {}
    for name, spare in (("without", None), ("with", bright)):
        torch.manual_seed(0)
        model = Reengineered(_network(), TargetHead(2, 2))
        finetune(
            model, None, Preprocess((0.4,) * 3, (0.3,) * 3), train_data, val_data, config, RUNTIME, seed=0, spare=spare
        )
        found[name] = accuracy(predict(model, val_data, Preprocess((0.4,) * 3, (0.3,) * 3)), val_data.labels)
    assert found["with"] > 0.95 > found["without"]


def test_crop_shifts_by_up_to_an_eighth_with_zero_padding():
    image = torch.arange(1, 65, dtype=torch.uint8).view(1, 8, 8, 1)
    data = LabelledImages(image, torch.zeros(1, dtype=torch.int64))
    plane = image[0, :, :, 0].float()
    padded = nn.functional.pad(plane, (1, 1, 1, 1))
    allowed = [padded[i : i + 8, j : j + 8] for i in range(3) for j in range(3)]
    seen = [next(iter(training_batches(data, IDENTITY, 1, "crop", 0, e)))[0][0, 0] for e in range(40)]
    assert all(any(torch.allclose(s, a) for a in allowed) for s in seen)
    assert len({tuple(s.flatten().tolist()) for s in seen}) > 4
    flipped = [next(iter(training_batches(data, IDENTITY, 1, "crop_flip", 0, e)))[0][0, 0] for e in range(40)]
    assert any(any(torch.allclose(f, a.flip(1)) for a in allowed) for f in flipped)


def test_resized_windows_lie_inside_the_image_and_differ():
    gradient = torch.arange(64).repeat(64, 1)  # the value is the column
    data = LabelledImages(
        gradient.to(torch.uint8)[None, :, :, None].repeat(200, 1, 1, 1), torch.zeros(200, dtype=torch.int64)
    )
    seen = _pixels(training_batches(data, IDENTITY, 50, "resized_crop_flip", 0, 0))
    assert seen.min() >= 0 and seen.max() <= 63
    slopes = (
        seen[:, 32, 40] - seen[:, 32, 24]
    ) / 16  # columns of the image for one of the window: its width; negative when flipped
    assert 60 < (slopes < 0).sum() < 140
    assert slopes.abs().min() >= (0.08 * 3 / 4) ** 0.5 - 1e-3 and slopes.abs().max() <= 1 + 1e-3
    assert slopes.abs().std() > 0.1
    assert torch.equal(seen, _pixels(training_batches(data, IDENTITY, 50, "resized_crop_flip", 0, 0)))


def test_a_small_last_batch_is_dropped_but_never_the_only_one():
    sizes = [len(y) for _, y in training_batches(_data(20), IDENTITY, 16, "none", 0, 0)]
    assert sizes == [16]
    assert [len(y) for _, y in training_batches(_data(4), IDENTITY, 16, "none", 0, 0)] == [4]


def _network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )


def _train(model, checkpoint=None, on_epoch=None, keep_best=False, lr=0.05):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    plan = TrainingPlan(6, 8, "crop", 0, cosine=True, keep_best=keep_best)
    preprocess = Preprocess((0.5,) * 3, (0.25,) * 3)
    return train(
        model,
        optimizer,
        preprocess,
        _data(),
        _data(20, 1),
        plan,
        RUNTIME,
        checkpoint=checkpoint,
        key="k",
        on_epoch=on_epoch,
    )


def test_training_learns_and_a_killed_one_continues_to_the_same_weights(tmp_path):
    whole, resumed = _network(), _network()
    history = _train(whole)
    assert history[-1].val_accuracy > history[0].val_accuracy
    assert history[-1].loss < history[1].loss

    def kill(epoch):
        if epoch.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _train(resumed, tmp_path / "c", kill)
    fresh = _network()
    assert _train(fresh, tmp_path / "c") == history
    assert all(torch.equal(v, whole.state_dict()[k]) for k, v in fresh.state_dict().items())


def test_a_loss_that_is_not_finite_is_one_clear_line():
    with pytest.raises(SourceError, match="the loss is"):
        _train(_network(), lr=1e30)


def _finetuned(regrow):
    model = Reengineered(_network(), TargetHead(2, 2))
    generator = torch.Generator().manual_seed(1)
    masks = {
        "0.weight": torch.rand(4, 3, 3, 3, generator=generator) > 0.5,
        "5.weight": torch.rand(2, 4, generator=generator) > 0.5,
    }
    apply_masks(model.network, masks)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    config = FinetuneConfig(epochs=30, lr=0.3, lr_head=0.3, augment="none", regrow=regrow, batch_size=8)
    history = finetune(
        model, masks, Preprocess((0.5,) * 3, (0.25,) * 3), _data(), _data(20, 1), config, RUNTIME, seed=0
    )
    return model, masks, before, history


def test_removed_weights_stay_exactly_zero():
    model, masks, before, history = _finetuned(regrow=False)
    for name, mask in masks.items():
        weight = model.network.get_parameter(name)
        assert torch.all(weight[~mask] == 0)
    assert len(history) == 31
    assert max(e.val_accuracy for e in history) > history[0].val_accuracy  # so a trained epoch was kept
    assert not torch.equal(before["network.0.weight"], model.network[0].weight)


def test_regrow_lets_them_train_again():
    model, masks, _, history = _finetuned(regrow=True)
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
        data = (Preprocess((0.5,) * 3, (0.25,) * 3), _data(), _data(20, 1))
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
    images = Preprocess((0.5,) * 3, (0.25,) * 3)(_data(20, 1).images)
    torch.testing.assert_close(narrow_model(images), wide_model(images), rtol=1e-3, atol=1e-4)


def test_distillation_by_hand():
    """Cross-entropy on the head plus T^2 times the divergence of the network's softened answers from the teacher's."""
    model, teacher = Reengineered(nn.Linear(2, 3), TargetHead(3, 2)), nn.Linear(2, 3)
    images, labels = torch.tensor([[1.0, 2.0], [-1.0, 0.5]]), torch.tensor([0, 1])
    found = distilled(model, teacher, 0.5)(images, labels)
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
    images = Preprocess((0.5,) * 3, (0.25,) * 3)(_data().images)
    away = {}
    for weight in (0.0, 10.0):
        torch.manual_seed(0)
        model = Reengineered(_network(), TargetHead(2, 2))
        config = FinetuneConfig(epochs=20, lr=0.02, lr_head=0.02, augment="none", batch_size=8, distill=weight)
        finetune(
            model,
            None,
            Preprocess((0.5,) * 3, (0.25,) * 3),
            _data(),
            _data(20, 1),
            config,
            RUNTIME,
            seed=0,
            teacher=teacher,
        )
        with torch.no_grad():
            own, wanted = (torch.log_softmax(network(images), 1) for network in (model.network, teacher))
        away[weight] = float(nn.functional.kl_div(own, wanted, log_target=True, reduction="batchmean"))
    assert away[10.0] < 0.5 * away[0.0]


def test_the_best_epoch_is_kept():
    model = _network()
    history = _train(model, keep_best=True)
    best = max(e.val_accuracy for e in history)
    data = _data(20, 1)
    assert accuracy(predict(model, data, Preprocess((0.5,) * 3, (0.25,) * 3)), data.labels) == best
