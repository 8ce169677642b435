"""GradSplitter: for every class the kernels that it needs and a small head, all found by gradient descent.

What it does: every class gets a score a kernel and a head from the network's outputs to one score of
the class; the network's weights stay. Kernels whose score falls to 0 are removed: what they make is
read as 0. Heads alone learn first; then, in cycles, kernels and heads, then heads alone. The loss is
that of telling the classes apart by the modules' scores, and a term for the kernels that are kept.
After every cycle all modules together are judged on val.

When to use it: to get reusable parts of a network of a few to some hundred classes that can be
composed without any further training. Wide networks have more kernels to spare than narrow ones.

Differences from the paper: cross-entropy of the scores themselves (published: of their sigmoid, which
squashes gradients twice); the size term is a mean for each module (published: over all, so that its
weight depends on the number of classes), and its weight grows while val allows; channels that are
added count once; a layer keeps one kernel at least; the cycle is chosen on val by a rule (published:
by hand); all modules run in one pass; each module may also learn alone, one class against the rest.

Published settings: `seam.configs.modules.PUBLISHED`, 145 passes over all training images.

Claimed: modules keep 19.88% fewer kernels than CNNSplitter's at less accuracy lost; a weak model
patched by a module gains 11.47 points of F1 of its class.

Source: H. Qi et al., "Modularizing Deep Neural Networks Using Gradient-based Splitting", TOSEM 2023.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seam.composition.heads import Heads
from seam.composition.module import Piece
from seam.composition.splitting import Splitting
from seam.configs.modules import ModulesConfig
from seam.data.images import LabelledImages
from seam.data.lazy import joined
from seam.masks.gate import Gated, KernelScores
from seam.masks.groups import channel_groups
from seam.masks.kernels import kernel_masks
from seam.methods.modules import UNWATCHED, Classes, ModulesWatch, key_of, spread
from seam.networks.predict import predict
from seam.runtime import Runtime


def start(
    source: nn.Module,
    classes: Classes,
    config: ModulesConfig,
    runtime: Runtime,
    seed: int,
    watch: ModulesWatch = UNWATCHED,
) -> dict[str, Piece]:
    """Find the modules of all classes.

    Args:
        source: the trained network, in eval mode, on the CPU; it is not changed.
        classes: its classes, two or more, and images of them.
        config: `gradsplitter` counts.
        runtime: device and precision.
        seed: of heads, shuffling and drawing.
        watch: where to keep the state, and whom to tell of cycles.

    Raises:
        NoChannelsError: none of the source's channels can be removed.
        DivergedError: the loss is not finite.

    Warns:
        SuspectResultWarning: no cycle was within the tolerance, or nothing was removed.
    """
    own, example = config.gradsplitter, classes.example()
    groups = channel_groups(source, example)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = Heads(own.head, len(classes.names)).to(runtime.device)
    scores = KernelScores(groups, len(classes.names), own.shared).to(runtime.device)
    gated = Gated(source, groups, example).to(runtime.device)
    train, val = classes.train.to(runtime.device), _judged(classes, own.val_images).to(runtime.device)
    preprocess = classes.preprocess.to(runtime.device)
    known = predict(gated.graph, val, preprocess).argmax(1) == val.labels
    search = Splitting(gated, scores, heads, train, val, preprocess, own, runtime, seed, known)
    path = None if watch.folder is None else watch.folder / "gradsplitter.safetensors"
    search.run(path, key_of(source, classes, own, runtime, seed), watch.on_cycle)
    classes.preprocess.cpu()
    kept, shift = (scores.gates() > 0.5).cpu(), search.prior_shift().tolist()
    return {name: Piece(kernel_masks(groups, kept[i]), heads.head(i, shift[i])) for i, name in enumerate(classes.names)}


def _judged(classes: Classes, count: int) -> LabelledImages:
    """So many images of val, and of train what val lacks: few images would let a bad cycle pass by luck."""
    val = spread(classes.val, count)
    if len(val) == count:
        return val
    more = spread(classes.train, count - len(val))
    parts = [val.images, more.images]
    if len({isinstance(images, Tensor) for images in parts}) > 1:  # one of both is read when it is asked for
        parts = [torch.cat(list(images.split(64))) for images in parts]
    return LabelledImages(joined(parts), torch.cat([val.labels, more.labels]))
