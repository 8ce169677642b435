"""SeaM for every class: the single weights that tell it from the others, a search each.

What it does: for each class a search over the network's weights for the problem "this class against the
rest", as `seam run` makes it for one, on as many images of the class as of others. A module is a mask
over single weights and a head of two outputs; its score is how much more the first says than the
second, brought to how frequent the class is.

When to use it: for modules of few weights where whole kernels cannot go. Their multiply-adds fall only
on engines that skip zeros.

Differences from the paper: it makes one problem's network at a time, and none are put together.

Published settings: see `seam methods seam`; for one class against the rest 300 rounds of `drift`.

Claimed: of its re-engineered networks, 89.89% of the weights are gone and 42.41% of the multiply-adds, means
over problems.

Source: B. Qi et al., "Reusing Deep Neural Network Models through Model Re-engineering", ICSE 2023.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seam.composition.heads import ContrastHead
from seam.composition.module import Piece
from seam.composition.splitting import Cycle
from seam.configs.modules import ModulesConfig
from seam.data.images import LabelledImages
from seam.data.lazy import select
from seam.data.problems import TargetProblem
from seam.methods.modules import UNWATCHED, Classes, ModulesWatch
from seam.networks.head import SourceOnProblem
from seam.networks.predict import accuracy, predict
from seam.runtime import Runtime
from seam.search.problem import SearchProblem
from seam.search.result import Round, SearchResult
from seam.search.run import search


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
        config: `seam_modules` counts.
        runtime: device and precision.
        seed: of drawing and shuffling.
        watch: where to keep the states, and whom to tell of rounds.

    Raises:
        SearchError: the source has nothing to mask, or the loss is not finite.
    """
    pieces = {}
    for number, name in enumerate(classes.names):
        with torch.random.fork_rng(devices=[]):
            found = _searched(source, classes, number, config, runtime, seed, watch)
        pieces[name] = Piece({k: mask.cpu() for k, mask in found.masks.items()}, _head(found, classes, number))
    return pieces


def _searched(
    source: nn.Module,
    classes: Classes,
    number: int,
    config: ModulesConfig,
    runtime: Runtime,
    seed: int,
    watch: ModulesWatch,
) -> SearchResult:
    """The search of one class."""
    problem = TargetProblem.of("classes", [classes.names[number]], classes.names)
    sides = {side: getattr(classes, side) for side in ("train", "val")}
    labels = {side: data.labels.cpu().numpy() for side, data in sides.items()}
    every = {side: torch.arange(len(data)).numpy() for side, data in sides.items()}
    rows, spare = problem.training_rows(labels["train"], every["train"], seed)

    def of(side: str, chosen: Tensor) -> LabelledImages:
        some = torch.from_numpy(problem.target_labels(labels[side][chosen.numpy()]))
        return LabelledImages(select(sides[side].images, chosen), some)

    train = of("train", torch.from_numpy(rows))
    val = of("val", torch.from_numpy(problem.select(labels["val"], every["val"], seed)))
    further = of("train", torch.from_numpy(spare)) if len(spare) else None
    original = SourceOnProblem(source, problem.target_indices, len(classes.names))
    known = accuracy(predict(original, val, classes.preprocess.cpu()), val.labels)
    asked = SearchProblem(source, classes.preprocess, train, val, problem.num_classes, known, spare=further)
    path = None if watch.folder is None else watch.folder / f"seam-{number}.safetensors"
    own = config.seam_modules

    def tell(done: Round) -> None:
        if watch.on_cycle is not None:
            of_all = len(classes.names) * own.max_rounds
            watch.on_cycle(Cycle(number * own.max_rounds + done.round + 1, of_all, done.density, done.val_accuracy))

    found = search(asked, own, runtime, seed, path, tell)
    classes.preprocess.cpu()
    return found


def _head(found: SearchResult, classes: Classes, number: int) -> ContrastHead:
    """The search's head as one score, brought from balanced images to how frequent the class is."""
    head = ContrastHead(len(classes.names), number)
    share = float((classes.train.labels == number).double().mean())
    with torch.no_grad():
        head.linear.weight.copy_(found.head.linear.weight)
        head.linear.bias.copy_(found.head.linear.bias)
        head.linear.bias[0] += torch.tensor(share / (1 - share)).log()
    return head.requires_grad_(False)
