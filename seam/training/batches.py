"""Training batches: shuffled and augmented on the device, a function of seed and epoch alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seam.configs.training import StudentTraining
from seam.data.images import LabelledImages
from seam.data.lazy import batches_of


def training_batches(
    data: LabelledImages, preprocess: nn.Module, batch_size: int, augment: str, seed: int, epoch: int
) -> Iterator[tuple[Float[Tensor, "batch channels h w"], Int[Tensor, " batch"]]]:
    """One epoch, shuffled, augmented and normalised; a function of (seed, epoch) alone, so a resumed run sees the same.

    The last batch is dropped when it is smaller than half a batch (and not the only one).

    Args:
        data: on the device that computes, or read when they are asked for.
        preprocess: uint8 NHWC to the network's input.
        batch_size: images a step.
        augment: beside what the images' own loader draws: "crop_flip", "crop" (shift by up to an
            eighth of the side, zero padding), "resized_crop_flip" (a window of 8 to 100% of the area) or "none".
        seed: of the run.
        epoch: 0, 1, ...
    """
    for images, labels in stacked_batches([data], preprocess, batch_size, augment, [seed], epoch):
        yield images[0], labels[0]


def stacked_batches(
    sets: Sequence[LabelledImages],
    preprocess: nn.Module,
    batch_size: int,
    augment: str,
    seeds: Sequence[int],
    epoch: int,
) -> Iterator[tuple[Float[Tensor, "sets batch channels h w"], Int[Tensor, "sets batch"]]]:
    """The `training_batches` of several sets of images at once, along a first dimension.

    Args:
        sets: as many images each, of one size, on one device.
        preprocess: of all.
        batch_size: images of each set.
        augment: of all.
        seeds: of each set.
        epoch: 0, 1, ...
    """
    draws = [hash((seed, epoch)) % 2**63 for seed in seeds]
    generators = [torch.Generator().manual_seed(draw) for draw in draws]
    count, device = len(sets[0]), sets[0].labels.device
    order = torch.stack([torch.randperm(count, generator=generator) for generator in generators]).to(device)
    in_all = order + count * torch.arange(len(sets), device=device)[:, None]
    all_labels = torch.cat([own.labels for own in sets])
    cut = _cut(sets[0], preprocess, augment, generators)
    starts = range(0, num_batches(count, batch_size) * batch_size, batch_size)
    of_sets = [
        batches_of(own.images, [rows[start : start + batch_size] for start in starts], draw)
        for own, rows, draw in zip(sets, order, draws, strict=True)
    ]
    for start, *parts in zip(starts, *of_sets, strict=True):
        chosen = in_all[:, start : start + batch_size]
        images = parts[0] if len(parts) == 1 else torch.cat(parts)
        yield cut(images, chosen.flatten()).unflatten(0, chosen.shape), all_labels[chosen]


def num_batches(count: int, batch_size: int) -> int:
    """How many batches `training_batches` makes of so many images."""
    whole, rest = divmod(count, batch_size)
    return whole + (rest >= batch_size / 2 or (not whole and rest > 0))


def whole_epochs(config: StudentTraining, count: int) -> int:
    """Passes over `count` training images that a student's training comes to."""
    return config.epochs if config.steps is None else -(-config.steps // num_batches(count, config.batch_size))


def _cut(
    data: LabelledImages, preprocess: nn.Module, augment: str, generators: Sequence[torch.Generator]
) -> Callable[[Tensor, Tensor], Tensor]:
    """(images, their indices in all sets) -> their augmented, normalised windows; everything drawn for the epoch now.

    A generator draws for a set as large as `data`, one set after the other.
    """
    count, device = len(data), data.labels.device
    if augment == "none":
        return lambda images, chosen: preprocess(images)
    if augment == "resized_crop_flip":
        windows = torch.cat([_resized_windows(count, generator) for generator in generators]).to(device)
        return lambda images, chosen: _resize(preprocess(images), windows[chosen])
    height, width = data.images.shape[1:3]
    pad = height // 8
    shifts = [torch.randint(0, 2 * pad + 1, (2, count, 1), generator=generator) for generator in generators]
    shift = torch.cat(shifts, dim=1).to(device)
    flip = torch.zeros(count * len(generators), 1, dtype=torch.bool)
    if augment == "crop_flip":
        flip = torch.cat([torch.rand(count, 1, generator=generator) < 0.5 for generator in generators])
    flip = flip.to(device)

    def shifted(images: Tensor, chosen: Tensor) -> Tensor:
        padded = nn.functional.pad(images, (0, 0, pad, pad, pad, pad))
        rows = shift[0, chosen] + torch.arange(height, device=chosen.device)
        columns = shift[1, chosen] + torch.arange(width, device=chosen.device)
        columns = torch.where(flip[chosen], columns.flip(1), columns)
        batch = torch.arange(len(chosen), device=chosen.device)
        made: Tensor = preprocess(padded[batch[:, None, None], rows[:, :, None], columns[:, None, :]])
        return made

    return shifted


def _resized_windows(count: int, generator: torch.Generator) -> Float[Tensor, "images 2 3"]:
    """Affine maps of windows of 8 to 100% of the area, sides 3:4 to 4:3, cut off at the image's own, half flipped."""
    drawn = torch.rand(5, count, generator=generator)
    area, ratio = 0.08 + 0.92 * drawn[0], (4 / 3) ** (2 * drawn[1] - 1)
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    maps = torch.zeros(count, 2, 3)
    maps[:, 0, 0] = torch.where(drawn[4] < 0.5, -width, width)
    maps[:, 1, 1] = height
    maps[:, 0, 2] = (1 - width) * (2 * drawn[2] - 1)
    maps[:, 1, 2] = (1 - height) * (2 * drawn[3] - 1)
    return maps


def _resize(
    images: Float[Tensor, "batch channels h w"], windows: Float[Tensor, "batch 2 3"]
) -> Float[Tensor, "batch channels h w"]:
    """Each image's window, brought to the image's size (bilinear)."""
    grid = nn.functional.affine_grid(windows, list(images.shape), align_corners=False)
    return nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
