"""The section `transfer` of `params.yaml`: which students, of which network, and all their numbers. No torch here."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from seam.configs.check import Ge, Gt, Lt, NotEmpty, config, require, require_sha256
from seam.configs.defects import BackdoorConfig, WhiteboxConfig
from seam.configs.methods import RemosConfig, TransferConfig, require_different_settings
from seam.configs.search import TransferSearchConfig
from seam.configs.training import StudentTraining, TrainingSetting
from seam.methods.catalogue import STUDENTS, names
from tasks.project.students import StudentName, parse_method

_DEFAULTS = TransferConfig()


@config
class TransferParams:
    """Transfer of one trained network to every data set in `targets`."""

    methods: Annotated[tuple[str, ...], NotEmpty()] = names(STUDENTS)
    """METHOD or METHOD-PERCENT, the share of weights it removes: [seam-30, seam-50, seam-70] gives
    a Pareto plot."""
    seeds: Annotated[tuple[Annotated[int, Ge(0)], ...], NotEmpty()] = (0,)
    """One student of every method for each; of the classifier, shuffling, augmentation, dropout and
    a random mask."""
    register: str | None = None
    """Which of `methods` is registered (its seed with the best val accuracy); null: the first that
    is ours (seam)."""
    architecture: str = "torchvision:resnet18"
    """Of the trained network, as `prepare_source.architecture`."""
    checkpoint: Annotated[str, NotEmpty()] = "torchvision:DEFAULT"
    """Its weights, as `prepare_source.checkpoint`."""
    sha256: str | None = None
    """Of its file, as `prepare_source.sha256`."""
    weights: str | None = None
    """Which of several sets of them, as `prepare_source.weights`."""
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    """Its normalisation, pixels in [0, 1]: one value, or one for each channel that the network takes. ImageNet's."""
    std: tuple[Annotated[float, Gt(0)], ...] = (0.229, 0.224, 0.225)
    """Likewise."""
    num_classes: Annotated[int, Ge(2)] = 1000
    """Logits it was trained with."""
    defect: Literal["features", "backdoor"] = "features"
    """What may be inherited. `features`: the attack on the source's features. `backdoor`: the
    source is first fine-tuned on the target's training images, some with a trigger; test images
    with the trigger take the place of attacked ones."""
    backdoor: BackdoorConfig = field(default_factory=BackdoorConfig)
    """How it is planted."""
    removal: Annotated[float, Ge(0), Lt(1)] = _DEFAULTS.removal
    """Share of the convolutions' weights that a method removes whose name has no percentage; remos has
    its own."""
    search: TransferSearchConfig = field(default_factory=TransferSearchConfig)
    """Of seam."""
    remos: RemosConfig = field(default_factory=RemosConfig)
    """Of remos."""
    training: StudentTraining = field(default_factory=StudentTraining)
    """Of every student but retrain's."""
    retrain: StudentTraining = _DEFAULTS.retrain
    """Training from scratch."""
    settings: tuple[TrainingSetting, ...] = ()
    """Every student is trained with each of them, and the one with the best val accuracy is the
    student: the same list for every method. What a setting does not name is as in `training`, or
    `retrain`. [{lr: 0.0005}, {lr: 0.002, momentum: 0.9}]; none: `training` as it is."""
    whitebox: WhiteboxConfig = field(default_factory=WhiteboxConfig)
    """Attacks on the students themselves."""
    whitebox_images: Annotated[int, Ge(1)] | None = 512
    """Test images for these, drawn by `seed`, the same for all students; null: all of them."""
    fab: bool = False
    """Attack by FAB too; slow where there are many classes."""

    def __post_init__(self) -> None:
        for name in self.methods:
            parse_method(name)
        for name, values in (("methods", self.methods), ("seeds", self.seeds)):
            require(len(set(values)) == len(values), f"{name} must be different, got {', '.join(map(str, values))}")
        require(
            self.register is None or self.register in self.methods,
            f"register must be one of methods, got '{self.register}'",
        )
        require_different_settings(self.settings)
        require_sha256(self.sha256)
        for name, statistics in (("mean", self.mean), ("std", self.std)):
            require(len(statistics) in (1, 3), f"{name} must be 1 or 3 values, got {len(statistics)}")

    @property
    def config(self) -> TransferConfig:
        """The numbers as the library takes them."""
        return TransferConfig(
            removal=self.removal,
            search=self.search,
            remos=self.remos,
            training=self.training,
            retrain=self.retrain,
            settings=self.settings,
        )

    @property
    def students(self) -> tuple[StudentName, ...]:
        """Every student of a target, seed by seed."""
        return tuple(StudentName(method, seed) for seed in self.seeds for method in self.methods)

    @property
    def registered_method(self) -> str | None:
        """Which of `methods` is registered; None: none of them is ours, and none is named."""
        return self.register or next((m for m in self.methods if parse_method(m)[0].role == "ours"), None)
