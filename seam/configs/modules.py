"""Every number of taking a network apart into modules. No torch here, as in `seam.configs.check`."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from seam.configs.check import Ge, Gt, Le, Lt, config, require
from seam.configs.search import SearchConfig


@config
class GradSplitterConfig:
    """GradSplitter: kernels and heads of all modules by gradient descent. `PUBLISHED` has the paper's numbers."""

    loss: Literal["together", "alone"] = "together"
    """`together`: cross-entropy over the scores of all modules. `alone`: every module by itself, its class
    against as many images of the others. *Differs*: the original takes the sigmoid of the scores
    before the cross-entropy."""
    head: Literal["linear", "two_layers"] = "linear"
    """From the network's outputs to a module's score: a linear layer that begins as the output of the
    class, or ReLU, 10 units, ReLU, 1 unit, drawn by chance. *Differs*: the original is
    `two_layers`."""
    first_scores: Literal["ranked", "ones"] = "ranked"
    """What kernels' scores begin as, which are removed at 0: 1 for all, or 0.5 to 1.5 by how much the loss
    feels them (squared gradient, before anything is removed), so that they do not fall all at once.
    *Differs*: the original is `ones`."""
    rank_images: Annotated[int, Ge(1)] = 512
    """`ranked`: training images that are looked at."""
    head_passes: Annotated[int, Ge(0)] = 1
    """Passes in which heads alone learn, before the first cycle. *Differs* (5)."""
    cycles: Annotated[int, Ge(0)] = 10
    """Each: masks and heads, then heads alone, then a look at val. *Differs* (20)."""
    mask_passes: Annotated[int, Ge(1)] = 1
    """Of a cycle, passes in which masks and heads learn. *Differs* (5)."""
    settle_passes: Annotated[int, Ge(0)] = 3
    """Of a cycle, passes in which heads alone learn. *Differs* (2)."""
    settling: Literal["constant", "cosine"] = "cosine"
    """Of the rate while heads alone learn: as it is, or down to 0, so that what is looked at on val does not depend on
    the last images. *Differs* (constant)."""
    pass_images: Annotated[int, Ge(1)] | None = 512
    """Training images of a pass, drawn anew for each; null: all. *Differs* (all)."""
    batch_size: Annotated[int, Ge(1)] = 64
    """Images a step; each goes through every module. *Same* (64)."""
    lr_scores: Annotated[float, Gt(0)] = 0.03
    """Adam rate of the kernels' scores. *Differs* (0.001)."""
    lr_head_first: Annotated[float, Gt(0)] = 0.01
    """Adam rate of the heads before the first cycle. *Same* (0.01)."""
    lr_head: Annotated[float, Gt(0)] = 0.003
    """Adam rate of the heads in the cycles. *Differs* (0.001)."""
    alpha: Annotated[float, Ge(0)] = 0.3
    """Weight of the kept fraction of the kernels, a term for each module, beside its loss. *Differs*: 0.1
    over the mean of all modules."""
    growth: Annotated[float, Ge(1)] = 1.5
    """`alpha` is multiplied by this after a cycle that is within the tolerance, and divided by it after
    one that is not; 1: it stays. *Differs* (1)."""
    tolerance: Annotated[float, Ge(0), Le(1)] = 0.01
    """Accuracy on val that all modules together may lose against the network; of the cycles within it,
    the one with the fewest kernels is kept. *Same* in aim (0.01, chosen by hand)."""
    caution: Annotated[float, Ge(0)] = 2.0
    """So many standard errors of that loss are taken off the tolerance, at most half of it: the fewer images of val
    there are, the less may be lost. *Differs* (0)."""
    val_images: Annotated[int, Ge(1)] = 1024
    """That a cycle is judged on: of val, evenly spread, and of the training images what val lacks. *Differs* (all
    of val)."""
    shared: Annotated[float, Ge(0), Lt(1)] = 0.5
    """Share of the layers, from the input on, whose kernels every module keeps: computed once for all
    modules of a composed network, which takes a fraction of the time then. *Differs* (0)."""
    modules_at_once: Annotated[int, Ge(1)] = 16
    """In one forward pass; more modules take several, to the same gradients."""


PUBLISHED = GradSplitterConfig(
    head="two_layers",
    first_scores="ones",
    head_passes=5,
    cycles=20,
    mask_passes=5,
    settle_passes=2,
    settling="constant",
    pass_images=None,
    lr_scores=0.001,
    lr_head=0.001,
    alpha=0.1,
    growth=1.0,
    tolerance=0.01,
    caution=0.0,
    shared=0.0,
)
"""GradSplitter's schedule as published."""


@config
class CnnSplitterConfig:
    """CNNSplitter: kernels of all modules by a genetic search."""

    search: Literal["genetic", "draws"] = "genetic"
    """`draws`: a control, every generation is drawn afresh as the first one is."""
    population: Annotated[int, Ge(2)] = 16
    """Candidates a class. *Differs* (100)."""
    generations: Annotated[int, Ge(1)] = 15
    """*Differs* (200)."""
    patience: Annotated[int, Ge(1)] = 20
    """Generations without a better composition, after which it stops. *Same* (20)."""
    images: Annotated[int, Ge(1)] = 200
    """Training images that candidates are judged on, as many of each class. *Differs*: the original uses all of
    the images that it also chooses on."""
    elites: Annotated[float, Gt(0), Lt(1)] = 0.2
    """Share of a population that goes on unchanged. *Same* (20 of 100)."""
    parents: Annotated[float, Gt(0), Le(1)] = 0.5
    """Share of a population that the others descend from. *Same* (50 of 100)."""
    mutation: Annotated[float, Ge(0), Le(1)] = 0.05
    """Share of a child's genes that are drawn anew. *Same* (CIFAR-10)."""
    genes: Annotated[int, Ge(1)] = 10
    """Groups of similar importance that a layer's kernels are divided into, ten times as many in layers of 256
    kernels and more: what is kept or removed together. *Same* (10, 100)."""
    ratios: tuple[Annotated[float, Gt(0), Le(1)], ...] = (0.4, 0.5, 0.6, 0.7)
    """Shares of a layer's genes that the first candidates keep. *Same* (SimCNN, CIFAR-10)."""
    sensitive_ratios: tuple[Annotated[float, Gt(0), Le(1)], ...] = (0.6, 0.7, 0.8)
    """The same of sensitive layers. *Same* (SimCNN, CIFAR-10)."""
    sensitivity: Annotated[float, Ge(0), Le(1)] = 0.05
    """A layer is sensitive where half of it alone costs all modules together more accuracy than this. *Differs*:
    chosen by a person."""
    alpha: Annotated[float, Ge(0), Le(1)] = 0.9
    """Weight of accuracy against difference of the modules. *Same* (0.9)."""
    gamma: Annotated[float, Ge(0), Le(1)] = 0.9
    """Accuracy below which its weight rises. *Same* (0.9)."""
    beam: Annotated[int, Ge(1)] = 50
    """Compositions of some of the classes that are followed up. *Differs*: 50 to 500."""
    confidence: Annotated[float, Ge(0), Lt(1)] = 0.9
    """Importance is measured on images that the network is surer of than this. *Same* (0.9)."""
    modules_at_once: Annotated[int, Ge(1)] = 16
    """In one forward pass; no result depends on it."""


@config
class DecompositionConfig:
    """Decomposition by activations: which units of a network a class does not need."""

    form: Literal["auto", "dense", "channels"] = "auto"
    """`dense`: the rules for dense ReLU networks, on single weights. `channels`: whole kernels by how much
    more they are active on the class than on others. `auto`: `dense` where the network is such."""
    removal: Annotated[float, Ge(0), Lt(1)] = 0.2
    """`channels`: largest share of each layer's kernels that is removed. *Same* (0.2, of recurrent
    networks)."""
    images_per_class: Annotated[int, Ge(1)] = 1000
    """At most so many of each class are looked at. *Same* (1000)."""
    confidence: Annotated[float, Ge(0), Lt(1)] = 0.9
    """Images of the class count where the network is surer of it than this; all do where there are none.
    *Same* (0.9)."""


SEAM = SearchConfig(target=0.3, max_rounds=10, accuracy_floor=0.0, norm_layers="frozen")
"""A search a class, of moderate length."""


@config
class ModulesConfig:
    """Taking a network apart, by whichever method."""

    gradsplitter: GradSplitterConfig = field(default_factory=GradSplitterConfig)
    """Of `gradsplitter`."""
    cnnsplitter: CnnSplitterConfig = field(default_factory=CnnSplitterConfig)
    """Of `cnnsplitter`."""
    seam_modules: SearchConfig = SEAM
    """Of `seam_modules`: the search for each class against the rest."""
    decomposition: DecompositionConfig = field(default_factory=DecompositionConfig)
    """Of `decomposition`."""

    def __post_init__(self) -> None:
        own = self.seam_modules
        require(own.structure == "weights", f"seam_modules needs structure weights, got {own.structure}")
        require(own.norm_layers == "frozen", f"seam_modules needs frozen norm_layers, got {own.norm_layers}")
