"""What a batch holds: order, augmentation, negatives."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from seam.configs.training import StudentTraining
from seam.data.images import LabelledImages, redrawn
from seam.networks.source import Preprocess
from seam.training.batches import stacked_batches, training_batches, whole_epochs
from tests.seam.training.bright import of_one_shade, two_shades

IDENTITY = Preprocess((0.0,) * 3, (1 / 255,) * 3)  # pixels come out as they are stored


def _pixels(batches):
    return torch.cat([x[:, 0] for x, _ in batches])


def test_an_epoch_without_augmentation_is_a_permutation():
    data = two_shades()
    seen = torch.cat([y for _, y in training_batches(data, IDENTITY, 8, "none", 0, 0)])
    assert sorted(seen.tolist()) == sorted(data.labels.tolist())
    pixels = _pixels(training_batches(data, IDENTITY, 8, "none", 0, 0))
    assert torch.equal(pixels.sum((1, 2)).sort().values, data.images.float().sum((1, 2, 3)).sort().values)


def test_batches_are_a_function_of_seed_and_epoch():
    data = two_shades()
    first, again = (_pixels(training_batches(data, IDENTITY, 8, "crop_flip", 1, 5)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, _pixels(training_batches(data, IDENTITY, 8, "crop_flip", 1, 6)))
    assert not torch.equal(first, _pixels(training_batches(data, IDENTITY, 8, "crop_flip", 2, 5)))


def test_negatives_are_drawn_anew_for_every_epoch():
    wanted, first, more = of_one_shade(0, 50), of_one_shade(1, 100), of_one_shade(1, 150, 60)
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
    # columns of the image for one of the window: its width; negative when flipped
    slopes = (seen[:, 32, 40] - seen[:, 32, 24]) / 16
    assert 60 < (slopes < 0).sum() < 140
    assert slopes.abs().min() >= (0.08 * 3 / 4) ** 0.5 - 1e-3 and slopes.abs().max() <= 1 + 1e-3
    assert slopes.abs().std() > 0.1
    assert torch.equal(seen, _pixels(training_batches(data, IDENTITY, 50, "resized_crop_flip", 0, 0)))


def test_a_small_last_batch_is_dropped_but_never_the_only_one():
    sizes = [len(y) for _, y in training_batches(two_shades(20), IDENTITY, 16, "none", 0, 0)]
    assert sizes == [16]
    assert [len(y) for _, y in training_batches(two_shades(4), IDENTITY, 16, "none", 0, 0)] == [4]


def test_steps_become_whole_epochs():
    training = StudentTraining(steps=10, batch_size=8)
    assert [whole_epochs(training, n) for n in (3, 8, 11, 12, 16)] == [10, 10, 10, 5, 5]
    assert whole_epochs(replace(training, steps=None, epochs=7), 100) == 7


@pytest.mark.parametrize("augment", ["none", "crop", "crop_flip", "resized_crop_flip"])
def test_batches_of_several_sets_at_once_are_those_of_each(augment):
    sets = [two_shades(seed=seed) for seed in (1, 2, 3)]
    each = [training_batches(own, IDENTITY, 16, augment, seed, 4) for seed, own in enumerate(sets)]
    at_once = list(stacked_batches(sets, IDENTITY, 16, augment, range(3), 4))
    assert [y.shape for _, y in at_once] == [(3, 16), (3, 16), (3, 8)]
    for (images, labels), *alone in zip(at_once, *each, strict=True):
        assert torch.equal(images, torch.stack([x for x, _ in alone]))
        assert torch.equal(labels, torch.stack([y for _, y in alone]))
    assert not torch.equal(at_once[0][0][0], at_once[0][0][1])
