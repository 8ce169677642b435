"""Numbers of the mask search."""

from __future__ import annotations

from typing import Annotated, Literal

from seam.configs.check import Ge, Gt, Le, Lt, config, require
from seam.configs.training import Augment


@config
class SearchConfig:
    """The mask search.

    Source: SeaM (ICSE'23) section 3; where the default differs from the paper or its code the field
    says so.
    """

    method: Literal["budget", "drift", "one_pass"] = "budget"
    """`budget`: the share of weights kept falls along a schedule to `target`, the highest scores
    are kept, and one search gives the whole frontier. `drift`: the cost is a term of the objective,
    as published. `one_pass`: of whole channels, squared gradients over one pass, and the widths of
    the greatest worth that `target` pays for; where `structure` is hybrid, single weights by
    `budget` after that. *Differs*: the original is `drift`."""
    structure: Literal["weights", "channels", "hybrid"] = "weights"
    """What is removed: single weights, which engines that skip zeros gain from, whole channels,
    which all gain from, or first the ones, then the others (`channels` and `hybrid` with
    `budget` or `one_pass`)."""
    channels_target: Annotated[float, Gt(0), Lt(1)] = 0.5
    """`hybrid`: share of the cost that channels leave, in the first half of the rounds or in one
    pass; weights are then removed down to `target`."""
    channel_block: Annotated[int, Ge(1)] = 16
    """`channels`: so many of a layer stay or go together, best with best; engines compute channels
    in blocks (AVX-512: 16; AVX2: 8)."""
    layouts: Annotated[int, Ge(1)] = 1
    """`one_pass`: so many different layouts of the target's cost are trained for a short while, and
    the best on val is kept; 1: the first guess is taken."""
    trial_epochs: Annotated[int, Ge(1)] = 1
    """Passes over the train split that each of them is trained for, as in fine-tuning, but with rates
    that fall to 0 within them."""
    cost: Literal["weights", "macs", "milliseconds"] = "weights"
    """What a kept weight costs: 1, or its multiply-adds for one image; `milliseconds`: what the
    kept channels take on the engine of `profile_source`. *Same* (weights)."""
    target: Annotated[float, Gt(0), Le(1)] = 0.05
    """`budget`: share of the cost (of weights: the density) where the schedule ends."""
    accuracy_floor: Annotated[float, Ge(0), Le(1)] | None = None
    """Val accuracy a candidate must reach; null: the source's, less `accuracy_tolerance`; 0: take
    `target`, whatever it costs."""
    accuracy_tolerance: Annotated[float, Ge(0), Lt(1)] = 0.0
    """A candidate's accuracy on val may be this much below the source's (a fraction). *Differs*:
    the original uses the test split."""
    max_rounds: Annotated[int, Ge(1)] = 40
    """Rounds (epochs over the problem's train split): all of them with `budget`, at most with
    `drift`. *Differs*: the original runs 300."""
    batch_size: Annotated[int, Ge(1)] = 64
    """Images per step. *Same* (64)."""
    lr_scores: Annotated[float, Gt(0)] = 0.005
    """`budget`: longest step of a score; they start as ranks in [0, 1]. `drift`: Adam rate; they
    start at 1 (published: 0.05)."""
    lr_head: Annotated[float, Gt(0)] = 0.01
    """Adam rate of the head during the search. *Differs*: the original uses 0.1 from a random head;
    ours starts fitted."""
    norm_layers: Literal["learn", "frozen"] = "learn"
    """Whether scales, shifts and statistics of BatchNorm (LayerNorm, GroupNorm) learn along with
    the mask. *Differs*: the original freezes them."""
    lr_norms: Annotated[float, Gt(0)] = 0.002
    """Adam rate of the normalisation layers, when they learn."""
    ramp: Annotated[float, Gt(0), Le(1)] = 0.6
    """`budget`: share of the rounds in which the kept share falls; in the rest it is held and the
    rates decay to 0."""
    alpha: Annotated[float, Ge(0)] = 1.0
    """Weight of the cost in the objective: cross-entropy + alpha * share kept. *Same* (1.0).
    `budget` descends the cross-entropy alone and, of the candidates at the accuracy floor, takes
    the one with the best objective on val."""
    patience: Annotated[int, Ge(0)] = 30
    """`drift`: stop after this many rounds without a better candidate; 0: never. *Differs*: the
    original never stops."""
    head_only_every: Annotated[int, Ge(0)] = 0
    """`drift`: every so many rounds, from the first on, only the head learns; 0: never. *Differs*:
    the original does so every 5."""
    head_start: Literal["fitted", "random"] = "fitted"
    """The head before the search: fitted to the source's logits, or random. *Differs*: the
    original's is random."""
    adam_eps: Annotated[float, Gt(0)] = 1e-12
    """*Differs* from the published 1e-8, which is as large as alpha / number of weights for big
    networks and stalls their drift."""
    select_on: Literal["val", "test"] = "val"
    """Split that candidates are chosen on. *Differs*: the original chooses on the test split, which
    flatters its accuracy by about a point."""
    negatives: Literal["redrawn", "fixed"] = "redrawn"
    """Binary problem: draw the images of the rest anew for every round, from all that train has, or
    keep one draw. *Differs*: the original keeps one."""
    augment: Augment = "crop_flip"
    """As for the source's training."""

    def __post_init__(self) -> None:
        hybrid, structured = self.structure == "hybrid", self.structure != "weights"
        allowed = ("budget", "one_pass") if structured else ("budget", "drift")
        require(
            self.method in allowed,
            f"structure {self.structure} needs method {' or '.join(allowed)}, got {self.method}",
        )
        require(
            structured or self.cost != "milliseconds",
            f"cost milliseconds needs whole channels, got structure {self.structure}",
        )
        require(
            not hybrid or self.target < self.channels_target,
            f"channels_target must be between target and 1, got {self.channels_target}",
        )
        require(not hybrid or self.max_rounds >= 2, f"structure hybrid needs max_rounds >= 2, got {self.max_rounds}")
        require(
            self.method != "one_pass" or hybrid or self.accuracy_floor == 0,
            f"one_pass needs accuracy_floor 0, got {self.accuracy_floor}: its accuracy comes with fine-tuning",
        )
        learns = self.norm_layers == "learn"
        require(
            self.batch_size >= 2 or not learns,
            f"batch_size must be >= 2 where norm_layers learn (BatchNorm needs a batch), got {self.batch_size}",
        )

    @property
    def rounds(self) -> int:
        """Passes over the train split, at most."""
        return 1 if self.method == "one_pass" and self.structure == "channels" else self.max_rounds

    @property
    def batch_statistics(self) -> bool:
        """Whether BatchNorm normalises by the batch while the search runs."""
        return self.norm_layers == "learn" and self.method != "one_pass"


@config
class TransferSearchConfig:
    """SeaM's mask search for a transfer, over the convolutions of the source."""

    method: Literal["budget", "drift"] = "budget"
    """As in `SearchConfig`. *Differs*: the original is `drift`, which here stops after the first
    round that has removed enough."""
    rounds: Annotated[int, Ge(1)] = 40
    """Epochs over the target's training images: all of them with `budget`, at most with `drift`.
    Too few cost more than anything else: with a thousand images and 80% removed, 10 instead of 40
    lose 13 points. *Differs*: the original runs up to 300."""
    batch_size: Annotated[int, Ge(1)] = 64
    """Images a step. *Same* (64)."""
    lr_scores: Annotated[float, Gt(0)] = 0.005
    """As in `SearchConfig` (published, with `drift`: 0.05)."""
    lr_head: Annotated[float, Gt(0)] = 0.001
    """Adam rate of the new classifier during the search. *Same* (0.001)."""
    alpha: Annotated[float, Ge(0)] = 0.5
    """`drift`: weight of the share kept in the objective. *Same* (0.5)."""
    ramp: Annotated[float, Gt(0), Le(1)] = 0.6
    """`budget`: share of the rounds in which the kept share falls."""
    norm_layers: Literal["frozen", "learn"] = "frozen"
    """Whether scales, shifts and statistics of the normalisation layers learn along; if so, they go
    with the mask. *Same* (frozen)."""
    lr_norms: Annotated[float, Gt(0)] = 0.002
    """Adam rate of the normalisation layers, when they learn."""
    adam_eps: Annotated[float, Gt(0)] = 1e-12
    """`drift`: as in `SearchConfig` (published: 1e-8)."""
    augment: Augment = "crop_flip"
    """Random shift by an eighth of the side and horizontal flip. *Differs*: the original is
    `resized_crop_flip`."""
