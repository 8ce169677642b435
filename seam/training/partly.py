"""Training of some parts of a network, the rest of which stays exactly as it is."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seam.configs.methods import PartlyConfig
from seam.data.images import LabelledImages
from seam.runtime import Runtime
from seam.training.distillation import divergence
from seam.training.loop import Epoch, TrainingPlan, train


class Partly(nn.Module):
    """A network of which some modules train; the others are in eval mode all along, their norms frozen too."""

    def __init__(self, network: nn.Module, names: Collection[str]) -> None:
        """Take the network and the names of modules of it."""
        super().__init__()
        self.network = network
        self.parts = tuple(names)
        network.requires_grad_(False)
        for name in self.parts:
            network.get_submodule(name).requires_grad_(True)

    def forward(self, x: Tensor) -> Tensor:
        """What the network gives."""
        scores: Tensor = self.network(x)
        return scores

    def train(self, mode: bool = True) -> Partly:
        """Set the mode of the modules that train."""
        super().train(False)
        for name in self.parts:
            self.network.get_submodule(name).train(mode)
        return self


def train_partly(
    network: nn.Module,
    names: Collection[str],
    preprocess: nn.Module,
    train_data: LabelledImages,
    val_data: LabelledImages,
    config: PartlyConfig,
    runtime: Runtime,
    seed: int,
    *,
    teacher: nn.Module | None = None,
    checkpoint: Path | None = None,
    key: str = "",
    on_epoch: Callable[[Epoch], None] | None = None,
) -> list[Epoch]:
    """Train these modules of a network, in place; the epoch with the best val accuracy is kept.

    SGD with Nesterov momentum, a warm-up, then a cosine to 0.

    Args:
        network: gives a score for each class.
        names: of its modules; "" is all of it, which trains at a rate of its own.
        preprocess: images to the network's input.
        train_data: to learn from.
        val_data: to choose the epoch on.
        config: the numbers.
        runtime: device and precision.
        seed: of shuffling and augmentation.
        teacher: eval mode; its answers are learnt beside the labels, where `config.distill` is above 0.
        checkpoint: see `seam.training.loop.train`.
        key: see `seam.training.loop.train`.
        on_epoch: see `seam.training.loop.train`.

    Raises:
        DivergedError: the loss is not finite.
    """
    model = Partly(network, names)
    optimizer = torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad],
        lr=config.lr_full if "" in model.parts else config.lr,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
        weight_decay=config.weight_decay,
    )
    asked = None if teacher is None or not config.distill else teacher.to(runtime.device)

    def loss_of(images: Tensor, labels: Tensor) -> Tensor:
        scores = model(images).float()
        loss = F.cross_entropy(scores, labels)
        if asked is None:
            return loss
        with torch.no_grad():
            answers = asked(images)
        return torch.stack([loss, config.distill * divergence(scores, answers)])

    plan = TrainingPlan(config.epochs, config.batch_size, config.augment, seed, cosine=True, keep_best=True)
    history = train(
        model,
        optimizer,
        preprocess,
        train_data,
        val_data,
        plan,
        runtime,
        checkpoint=checkpoint,
        key=key,
        on_epoch=on_epoch,
        loss_of=loss_of,
    )
    network.eval().requires_grad_(False)
    return history
