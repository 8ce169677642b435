"""Numbers of training and fine-tuning."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from seam.configs.check import Ge, Gt, Lt, config, require

Augment = Literal["crop_flip", "crop", "resized_crop_flip", "none"]
"""How training images vary; see `seam.training.batches.training_batches`."""


@config
class FinetuneConfig:
    """Fine-tuning of the re-engineered model and, as baseline and by the labels alone, of the original."""

    epochs: Annotated[int, Ge(0)] = 10
    """Epochs at most; the one with the best val accuracy is kept (epoch 0 is the model as it
    came)."""
    lr: Annotated[float, Gt(0)] = 0.005
    """SGD rate of the network; the one that a search tries layouts with, whatever `rates` says. *Same*
    as the paper's RQ3 (0.005)."""
    lr_head: Annotated[float, Gt(0)] = 0.05
    """SGD rate of the head. *Same* (0.05)."""
    rates: tuple[Annotated[float, Gt(0)], ...] = ()
    """Peak rates of the network to choose from, for each model on its own: each is tried by a training
    of `probe_epochs` epochs whose rates fall to 0 within them, from the same start, and the lowest
    cross-entropy on val wins. The head's rate keeps its ratio to `lr`. One alone is taken untried;
    none: `lr` as it is. *Same* (none)."""
    probe_epochs: Annotated[int, Ge(1)] = 1
    """Epochs that each of `rates` is tried for, beside `epochs`, which is what the training after
    them gets."""
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Of SGD (Nesterov). *Same* (none). Whole channels want 0.9: what is left has to learn."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Of the rates: as they are (*same*), or down to 0 along a cosine after a warm-up."""
    weight_decay: Annotated[float, Ge(0)] = 1e-4
    """L2 penalty. *Same* (1e-4)."""
    batch_size: Annotated[int, Ge(1)] = 64
    """Images per step. *Same* (64)."""
    removed_weights: Literal["zero", "gradual", "regrow"] = "zero"
    """`zero`: what the search removed stays zero. `gradual`: whole channels do; single weights leave
    one by one while the rest trains, the smallest first, until as many are left as the search
    left, in other layers perhaps. `regrow`: they train again, so the model becomes dense, as in the
    published code. *Differs*: zero by default."""
    distill: Annotated[float, Ge(0)] = 0.0
    """Weight of a second loss: the network's logits over the source's classes against the source's
    own. *Same* (0: none)."""
    features: Annotated[float, Ge(0)] = 0.0
    """Weight of a third loss: what the network computes at the ends of its last stages against what
    the source computes there, as relative squared error. *Same* (0: none)."""
    feature_stages: Annotated[int, Ge(1)] = 2
    """How many of the last stages teach their features."""
    negatives: Literal["redrawn", "fixed"] = "redrawn"
    """As in the search."""
    augment: Augment = "crop_flip"
    """As for the source's training."""

    def __post_init__(self) -> None:
        require(len(set(self.rates)) == len(self.rates), f"rates must differ from each other, got {list(self.rates)}")


@config
class StudentTraining:
    """How a student is trained on the target: the same for every method, but for training from scratch."""

    epochs: Annotated[int, Ge(0)] = 30
    """Passes over the target's training images."""
    steps: Annotated[int, Ge(1)] | None = None
    """Optimizer steps instead, rounded up to whole epochs; null: `epochs` counts."""
    lr: Annotated[float, Gt(0)] = 0.005
    """SGD rate of all layers but the classifier. *Same* (0.005)."""
    lr_head: Annotated[float, Gt(0)] = 0.05
    """SGD rate of the classifier. *Same* (0.05)."""
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.0
    """*Same* (0)."""
    weight_decay: Annotated[float, Ge(0)] = 1e-4
    """L2 penalty. *Same* (1e-4)."""
    batch_size: Annotated[int, Ge(1)] = 64
    """Images a step. *Same* (64)."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Rates: as they are (*same*), or a warm-up for a tenth of the steps and then a cosine to 0."""
    head_start: Literal["random", "fitted"] = "random"
    """The classifier before the training: fresh (*same*), or fitted to what the rest of the student
    gives it."""
    removed_weights: Literal["regrow", "zero"] = "regrow"
    """`regrow`: removed weights start at zero and train again, so the student becomes dense
    (*same*). `zero`: they stay exactly zero."""
    spatial_dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Chance that a channel is dropped after each stage, in training (ReMoS: 0.1; SeaM: figure 8
    only); 0: off."""
    label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Share of every label that is spread over all classes (ReMoS: 0.1; SeaM: none); 0: off."""
    keep: Literal["best", "last"] = "best"
    """The epoch with the best val accuracy (SeaM: the best on test), or the last (ReMoS)."""
    augment: Augment = "crop_flip"
    """As in `TransferSearchConfig`."""


@config
class TrainingSetting:
    """One of the settings that a student's training is chosen from; null: as in the training it changes."""

    lr: Annotated[float, Gt(0)] | None = None
    """SGD rate of all layers but the classifier."""
    lr_head: Annotated[float, Gt(0)] | None = None
    """SGD rate of the classifier."""
    momentum: Annotated[float, Ge(0), Lt(1)] | None = None
    """Of SGD."""
    schedule: Literal["constant", "cosine"] | None = None
    """Of the rates."""
    head_start: Literal["random", "fitted"] | None = None
    """The classifier before the training."""

    def over(self, training: StudentTraining) -> StudentTraining:
        """The numbers of a training with what is set here in place of its own."""
        return replace(training, **{name: value for name, value in vars(self).items() if value is not None})


_FROM_SCRATCH = StudentTraining(epochs=60, lr=0.05, lr_head=0.05, momentum=0.9, weight_decay=5e-4, schedule="cosine")
