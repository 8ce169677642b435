"""How alike two representations of the same images are: linear CKA, and what it says of the blocks of a network.

Source: Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited", and, for the
unbiased estimate from batches, Nguyen et al. 2021, "Do Wide and Deep Networks Learn the Same
Things?", section 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seam.data.images import LabelledImages
from seam.data.lazy import batches_of
from seam.errors import DataError, SourceError

LEAST = 4
"""Images that the unbiased estimate needs: it divides by n (n - 3)."""
Linkage = Literal["single", "complete"]


def centred_gram(values: Float[Tensor, "images ..."]) -> Float[Tensor, "images images"]:
    """The products of every two images' values, without the diagonal, centred so that estimates from it have no bias.

    Args:
        values: any shape behind the images, at least 4 of these.

    Raises:
        DataError: fewer images.
        SourceError: NaN or infinite values.
    """
    count = len(values)
    if count < LEAST:
        raise DataError(f"CKA without bias: expected at least {LEAST} images at once, got {count}; give more.")
    flat = values.detach().flatten(1).float()
    flat = flat - flat.mean(0)
    if not bool(torch.isfinite(flat).all()):
        raise SourceError("expected finite values inside the network, got NaN or infinite ones", hint="normalisation")
    gram = (flat @ flat.T).double().fill_diagonal_(0)
    means = gram.sum(0) / (count - 2)
    means = means - means.sum() / (2 * (count - 1))
    return (gram - means[:, None] - means[None, :]).fill_diagonal_(0)


def cka(one: Float[Tensor, "images ..."], other: Float[Tensor, "images ..."]) -> float:
    """Linear CKA of two representations of the same images, in one batch: 1 for the same up to rotation and scale.

    Unbiased, so near 0, on either side of it, for what has nothing in common.

    Raises:
        DataError: fewer than 4 images.
        SourceError: NaN or infinite values.
    """
    return float(_over_batches([(centred_gram(one)[None], centred_gram(other)[None])]))


def cka_of_blocks(
    network: nn.Module,
    blocks: Sequence[str],
    data: LabelledImages,
    preprocess: nn.Module,
    batch_size: int,
    beside: tuple[nn.Module, LabelledImages] | None = None,
) -> Float[Tensor, "values others"]:
    """Linear CKA between what goes into the first block and what comes out of each, over batches of images.

    Args:
        network: eval mode, on the device of the images.
        blocks: names of its modules, in their order.
        data: at least 4 images.
        preprocess: images to the network's input.
        batch_size: images that are compared with each other, at most; 8 or more.
        beside: a network with the same blocks, and as many images, whose values are the columns;
            None: the same network and images, both rows and columns.

    Returns:
        Row 0 is the input of the first block, row i the output of block i - 1.

    Raises:
        DataError: fewer than 4 images.
        SourceError: NaN or infinite values.
    """
    rows = _grams(network, blocks, data, preprocess, batch_size)
    if beside is None:
        return _over_batches((grams, grams) for grams in rows)
    return _over_batches(zip(rows, _grams(beside[0], blocks, beside[1], preprocess, batch_size), strict=True))


def cka_with_classes(
    network: nn.Module, blocks: Sequence[str], data: LabelledImages, preprocess: nn.Module, batch_size: int
) -> Float[Tensor, " values"]:
    """The same between each value and the classes: high where images of one class are alike and others are not.

    Args:
        network: see `cka_of_blocks`.
        blocks: see `cka_of_blocks`.
        data: at least 4 images, of two classes or more.
        preprocess: see `cka_of_blocks`.
        batch_size: see `cka_of_blocks`.

    Raises:
        DataError: fewer than 4 images.
        SourceError: NaN or infinite values.
    """
    classes = nn.functional.one_hot(data.labels).float()
    columns = (centred_gram(classes[part]).cpu()[None] for part in _parts(len(data), batch_size))
    rows = _grams(network, blocks, data, preprocess, batch_size)
    return _over_batches(zip(rows, columns, strict=True))[:, 0]


def runs(similarity: Float[Tensor, "values values"], threshold: float, linkage: Linkage) -> tuple[tuple[int, int], ...]:
    """Cut a row of values into runs of nearly the same: half-open, together all of them.

    Args:
        similarity: CKA of every two.
        threshold: what is above it is nearly the same.
        linkage: "single" asks it of neighbours (as published), "complete" of every two in a run.
    """
    found, start = [], 0
    for end in range(1, len(similarity) + 1):
        nearest = end - 1 if linkage == "single" else start
        if end == len(similarity) or not bool((similarity[nearest:end, end] > threshold).all()):
            found.append((start, end))
            start = end
    return tuple(found)


def _parts(count: int, batch_size: int) -> list[Tensor]:
    """Rows of batches of nearly the same size."""
    if count < LEAST:
        raise DataError(f"CKA without bias: expected at least {LEAST} images, got {count}; give more.")
    return list(torch.arange(count).tensor_split(-(-count // batch_size)))


@torch.no_grad()
def _grams(
    network: nn.Module, blocks: Sequence[str], data: LabelledImages, preprocess: nn.Module, batch_size: int
) -> Iterator[Float[Tensor, "values images images"]]:
    """Of each batch, the centred products of what goes into the first block and what comes out of each."""
    found: dict[str, Tensor] = {}

    def before(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found[""] = centred_gram(inputs[0]).cpu()

    def after(name: str, module: nn.Module, inputs: tuple[Tensor, ...], value: Tensor) -> None:
        found[name] = centred_gram(value).cpu()

    for images in batches_of(data.images, _parts(len(data), batch_size), 0):
        hooks = [network.get_submodule(blocks[0]).register_forward_pre_hook(before)]
        hooks += [network.get_submodule(name).register_forward_hook(partial(after, name)) for name in blocks]
        try:
            network(preprocess(images))
        finally:
            for hook in hooks:
                hook.remove()
        yield torch.stack([found[name] for name in ("", *blocks)])


def _over_batches(pairs: Iterable[tuple[Tensor, Tensor]]) -> Float[Tensor, "rows columns"]:
    """CKA of every row with every column, of estimates that are summed over batches."""
    zero = torch.zeros((), dtype=torch.float64)
    products, own, others = zero, zero, zero
    for rows, columns in pairs:
        count = rows.shape[-1]
        weight = 1 / (count - 3)  # of batches of n images, as the estimate from one is a sum over n (n - 3)
        products = products + weight * torch.einsum("iab,jab->ij", rows, columns)
        own = own + weight * rows.square().sum((1, 2))
        others = others + weight * columns.square().sum((1, 2))
    scale = (own[:, None] * others[None, :]).sqrt()
    return torch.where(scale > 0, products / scale, 0.0)  # 0 where one is the same for all images
