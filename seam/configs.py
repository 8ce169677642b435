"""Every number a user may change, as frozen dataclasses (one per section of `params.yaml`).

No torch here: the command line validates parameters without paying for its import. Each `__post_init__` raises
`ValueError` with a message of the form "name must be ..., got ...".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

STRICT = {"extra": "forbid"}
"""Read by pydantic when it validates params.yaml into such classes."""
Engine = Literal["deepsparse", "onnxruntime", "openvino", "onnxruntime_int8", "openvino_int8", "torch", "torch_compile"]
Augment = Literal["crop_flip", "crop", "resized_crop_flip", "none"]
"""How training images vary; see `seam.batches.training_batches`."""


def require(condition: bool, message: str) -> None:
    """Raise a ValueError with this message unless the condition holds."""
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """Where and how the tensors are computed."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: CUDA when there is one."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Forward and backward of training and search. `auto`: bf16 where the hardware multiplies it and the network is big enough to gain."""
    threads: int = 0
    """CPU threads for torch; 0: all cores this process may use."""
    searches_together: int = 0
    """Problems whose searches `seam run` carries along at once, at most; 0: on a GPU as many as fit, on a CPU 1."""

    def __post_init__(self) -> None:
        require(self.threads >= 0, f"threads must be >= 0 (0: all cores), got {self.threads}")
        require(self.searches_together >= 0, f"searches_together must be >= 0 (0: as many as fit), got {self.searches_together}")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The raw data set."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    kind: Literal["npz", "image_folder", "cifar10", "cifar100", "mit67", "cub200", "flowers102", "actions40", "dogs120"] = "npz"
    """`npz`: x_train, y_train, x_test, y_test (uint8 NHWC or NHW), optional `classes`. `image_folder`: root/train/<class>/*, root/test/<class>/*.

    The others: the published data set of that name, in its official files and split.
    """
    path: str = "data/digits.npz"
    """File (npz) or folder (the others), relative to the project."""
    image_size: int | None = None
    """Side in pixels that every image is resized (short side) and centre-cropped to; null: keep, all images must agree."""
    drop_copies: bool = False
    """Leave out training images that are identical to a test image (CIFAR-100 has some) instead of refusing the data."""
    min_images_per_class: int = 10
    """Fewest images a class may have in train, and at least one in test; 0: classes of a given source may be without images."""

    def __post_init__(self) -> None:
        require(bool(self.path), "path must name a file or folder, got an empty string")
        require(self.image_size is None or self.image_size >= 8, f"image_size must be null or >= 8 pixels, got {self.image_size}")
        require(self.min_images_per_class >= 0, f"min_images_per_class must be >= 0, got {self.min_images_per_class}")


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """How train, validation and test are made for a target problem."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    val_fraction: float = 0.2
    """Share of the training images, of every class, kept for validation (never trained on)."""

    def __post_init__(self) -> None:
        require(0 < self.val_fraction < 1, f"val_fraction must be between 0 and 1, got {self.val_fraction}")


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """The trained network to re-engineer, and how to train it when there is none."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    architecture: str = "resnet20"
    """A built-in name, `torchvision:NAME`, or `path/to/file.py:function` (called with num_classes=...)."""
    checkpoint: str | None = None
    """A .safetensors file or a state dict (.pt, .pth, .th; nothing in it is executed); null: train here.

    Or one that is fetched: `torchvision:WEIGHTS` (for a torchvision architecture), `https://...`, `models:/NAME/VERSION` or
    `models:/NAME@ALIAS` (MLflow registry), `hub:OWNER/REPO:NAME` (torch.hub: runs that repository's code).
    """
    expected_accuracy: float | None = None
    """Of a given checkpoint over all classes of the test images, a fraction: stop if it is off by more than 0.01; null: do not compare."""
    mean: tuple[float, ...] | None = None
    """Normalisation mean per channel, pixels in [0, 1]; null: of the training images."""
    std: tuple[float, ...] | None = None
    """Normalisation standard deviation per channel; null: of the training images."""
    epochs: int = 30
    """Epochs of training (SGD, cosine schedule) when there is no checkpoint."""
    lr: float = 0.1
    """Peak learning rate of that training."""
    batch_size: int = 64
    """Images per step of that training."""
    weight_decay: float = 5e-4
    """L2 penalty of that training."""
    augment: Augment = "crop_flip"
    """Random shift by an eighth of the side and horizontal flip; digits and letters want `crop`. `resized_crop_flip`: a random window of
    8 to 100% of the area and a flip, as ImageNet networks are trained."""

    def __post_init__(self) -> None:
        require(self.epochs >= 1, f"epochs must be >= 1, got {self.epochs}")
        require(self.lr > 0, f"lr must be > 0, got {self.lr}")
        require(self.batch_size >= 1, f"batch_size must be >= 1, got {self.batch_size}")
        require(self.weight_decay >= 0, f"weight_decay must be >= 0, got {self.weight_decay}")
        require((self.mean is None) == (self.std is None), f"mean and std go together, got mean={self.mean}, std={self.std}")
        require(self.std is None or all(s > 0 for s in self.std), f"std must be > 0, got {self.std}")
        expected = self.expected_accuracy
        require(expected is None or 0 <= expected <= 1, f"expected_accuracy must be a fraction in [0, 1], got {expected}")
        require(expected is None or self.checkpoint is not None, f"expected_accuracy is for a given checkpoint, got {expected} and checkpoint=null")


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """The mask search.

    Source: SeaM (ICSE'23) section 3; where the default differs from the paper or its code the field says so.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    method: Literal["budget", "drift"] = "budget"
    """`budget`: the share of weights kept falls along a schedule to `target`, the highest scores are kept, and one search gives the
    whole frontier. `drift`: the cost is a term of the objective, as published. *Differs*: the original is `drift`."""
    structure: Literal["weights", "channels", "hybrid"] = "weights"
    """What is removed: single weights, which engines that skip zeros gain from, whole channels, which all gain from, or first the ones, then
    the others (`channels` and `hybrid` with `budget`)."""
    channels_target: float = 0.5
    """`hybrid`: share of the cost that the first half of the rounds leaves, by channels; weights are then removed down to `target`."""
    channel_block: int = 16
    """`channels`: so many of a layer stay or go together, best with best; engines compute channels in blocks (AVX-512: 16; AVX2: 8)."""
    cost: Literal["weights", "macs"] = "weights"
    """What a kept weight costs: 1, or its multiply-adds for one image. *Same* (weights)."""
    target: float = 0.05
    """`budget`: share of the cost (of weights: the density) where the schedule ends."""
    accuracy_floor: float | None = None
    """Val accuracy a candidate must reach; null: the source's, less `accuracy_tolerance`; 0: take `target`, whatever it costs."""
    accuracy_tolerance: float = 0.0
    """A candidate's accuracy on val may be this much below the source's (a fraction). *Differs*: the original uses the test split."""
    max_rounds: int = 40
    """Rounds (epochs over the problem's train split): all of them with `budget`, at most with `drift`. *Differs*: the original runs 300."""
    batch_size: int = 64
    """Images per step. *Same* (64)."""
    lr_scores: float = 0.005
    """`budget`: longest step of a score; they start as ranks in [0, 1]. `drift`: Adam rate; they start at 1 (published: 0.05)."""
    lr_head: float = 0.01
    """Adam rate of the head during the search. *Differs*: the original uses 0.1 from a random head; ours starts fitted."""
    norm_layers: Literal["learn", "frozen"] = "learn"
    """Whether scales, shifts and statistics of BatchNorm (LayerNorm, GroupNorm) learn along with the mask. *Differs*: the original freezes them."""
    lr_norms: float = 0.002
    """Adam rate of the normalisation layers, when they learn."""
    ramp: float = 0.6
    """`budget`: share of the rounds in which the kept share falls; in the rest it is held and the rates decay to 0."""
    alpha: float = 1.0
    """Weight of the cost in the objective: cross-entropy + alpha * share kept. *Same* (1.0). `budget` descends the cross-entropy alone and,
    of the candidates at the accuracy floor, takes the one with the best objective on val."""
    patience: int = 30
    """`drift`: stop after this many rounds without a better candidate; 0: never. *Differs*: the original never stops."""
    head_only_every: int = 0
    """`drift`: every so many rounds, from the first on, only the head learns; 0: never. *Differs*: the original does so every 5."""
    head_start: Literal["fitted", "random"] = "fitted"
    """The head before the search: fitted to the source's logits, or random. *Differs*: the original's is random."""
    adam_eps: float = 1e-12
    """*Differs* from the published 1e-8, which is as large as alpha / number of weights for big networks and stalls their drift."""
    select_on: Literal["val", "test"] = "val"
    """Split that candidates are chosen on. *Differs*: the original chooses on the test split, which flatters its accuracy by about a point."""
    negatives: Literal["redrawn", "fixed"] = "redrawn"
    """Binary problem: draw the images of the rest anew for every round, from all that train has, or keep one draw. *Differs*: the original keeps one."""
    augment: Augment = "crop_flip"
    """As for the source's training."""

    def __post_init__(self) -> None:
        hybrid, structured = self.structure == "hybrid", self.structure != "weights"
        require(not structured or self.method == "budget", f"structure {self.structure} needs method budget, got {self.method}")
        require(not hybrid or self.target < self.channels_target < 1, f"channels_target must be between target and 1, got {self.channels_target}")
        require(not hybrid or self.max_rounds >= 2, f"structure hybrid needs max_rounds >= 2, got {self.max_rounds}")
        require(self.channel_block >= 1, f"channel_block must be >= 1, got {self.channel_block}")
        require(0 < self.target <= 1, f"target must be in (0, 1], got {self.target}")
        require(self.accuracy_floor is None or 0 <= self.accuracy_floor <= 1, f"accuracy_floor must be null or in [0, 1], got {self.accuracy_floor}")
        require(0 < self.ramp <= 1, f"ramp must be in (0, 1], got {self.ramp}")
        require(self.alpha >= 0, f"alpha must be >= 0, got {self.alpha}")
        require(self.lr_scores > 0, f"lr_scores must be > 0, got {self.lr_scores}")
        require(self.lr_head > 0, f"lr_head must be > 0, got {self.lr_head}")
        require(self.lr_norms > 0, f"lr_norms must be > 0, got {self.lr_norms}")
        require(self.adam_eps > 0, f"adam_eps must be > 0, got {self.adam_eps}")
        require(self.batch_size >= 1, f"batch_size must be >= 1, got {self.batch_size}")
        learns = self.norm_layers == "learn"
        require(self.batch_size >= 2 or not learns, f"batch_size must be >= 2 where norm_layers learn (BatchNorm needs a batch), got {self.batch_size}")
        require(self.max_rounds >= 1, f"max_rounds must be >= 1, got {self.max_rounds}")
        require(self.patience >= 0, f"patience must be >= 0 (0: never stop early), got {self.patience}")
        require(self.head_only_every >= 0, f"head_only_every must be >= 0 (0: never), got {self.head_only_every}")
        require(0 <= self.accuracy_tolerance < 1, f"accuracy_tolerance must be in [0, 1), got {self.accuracy_tolerance}")


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """Fine-tuning of the re-engineered model and, as baseline, of the original."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    epochs: int = 10
    """Epochs at most; the one with the best val accuracy is kept (epoch 0 is the model as it came)."""
    lr: float = 0.005
    """SGD rate of the network. *Same* as the paper's RQ3 (0.005)."""
    lr_head: float = 0.05
    """SGD rate of the head. *Same* (0.05)."""
    momentum: float = 0.0
    """Of SGD (Nesterov). *Same* (none). Whole channels want 0.9: what is left has to learn."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Of the rates: as they are (*same*), or down to 0 along a cosine after a warm-up."""
    weight_decay: float = 1e-4
    """L2 penalty. *Same* (1e-4)."""
    batch_size: int = 64
    """Images per step. *Same* (64)."""
    regrow: bool = False
    """Let removed weights train again, as the published code does (the model becomes dense). *Differs*: off by default."""
    distill: float = 0.0
    """Weight of a second loss: the network's logits over the source's classes against the source's own. *Same* (0: none). Whole channels want 1."""
    negatives: Literal["redrawn", "fixed"] = "redrawn"
    """As in the search."""
    augment: Augment = "crop_flip"
    """As for the source's training."""

    def __post_init__(self) -> None:
        require(self.epochs >= 0, f"epochs must be >= 0, got {self.epochs}")
        require(self.lr > 0, f"lr must be > 0, got {self.lr}")
        require(self.lr_head > 0, f"lr_head must be > 0, got {self.lr_head}")
        require(0 <= self.momentum < 1, f"momentum must be in [0, 1), got {self.momentum}")
        require(self.distill >= 0, f"distill must be >= 0 (0: none), got {self.distill}")
        require(self.weight_decay >= 0, f"weight_decay must be >= 0, got {self.weight_decay}")
        require(self.batch_size >= 1, f"batch_size must be >= 1, got {self.batch_size}")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """What the re-engineered model is compared with on the test images."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    adapt_epochs: int = 10
    """Epochs that head and normalisation layers of every compared mask get, at the search's rates; 0: a fitted head alone."""
    retrain_epochs: int = 20
    """Epochs of a network of the same architecture trained from scratch on the target problem, at the source's rates; 0: leave it out."""

    def __post_init__(self) -> None:
        require(self.adapt_epochs >= 0, f"adapt_epochs must be >= 0, got {self.adapt_epochs}")
        require(self.retrain_epochs >= 0, f"retrain_epochs must be >= 0 (0: leave it out), got {self.retrain_epochs}")


@dataclass(frozen=True, kw_only=True)
class AttackConfig:
    """The feature attack that makes the adversarial set from the source alone.

    Source: SeaM section 5.4 and ReMoS; all budgets live in normalised space, as published.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    eps_normalized: float = 0.1
    """L-infinity budget in normalised space. *Same* (0.1)."""
    step_normalized: float = 0.01
    """Step in normalised space. *Same* (0.01)."""
    steps: int = 40
    """Iterations. *Same* (40)."""
    clip: Literal["published", "valid"] = "published"
    """`published`: clamp to [-2.2, 2.2] in normalised space, which can move bright pixels beyond the budget; `valid`: to the pixels' true range."""
    batch_size: int = 64
    """Images per attacked batch."""

    def __post_init__(self) -> None:
        require(self.eps_normalized > 0, f"eps_normalized must be > 0, got {self.eps_normalized}")
        require(self.step_normalized > 0, f"step_normalized must be > 0, got {self.step_normalized}")
        require(self.steps >= 1, f"steps must be >= 1, got {self.steps}")
        require(self.batch_size >= 1, f"batch_size must be >= 1, got {self.batch_size}")


@dataclass(frozen=True, kw_only=True)
class LatencyConfig:
    """The inference benchmark."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    engines: tuple[Engine, ...] = ("deepsparse", "onnxruntime", "openvino", "torch")
    """Engines to time; one that is missing here is reported as unavailable. `torch_compile` compiles each model for each batch size, which
    takes half a minute and a C++ compiler. `onnxruntime_int8`, `openvino_int8`: every model with weights and activations rounded to 8 bits,
    calibrated on train."""
    int8_drop: float = 0.005
    """Val accuracy (a fraction) that rounding to int8 may cost, or one image; a model that loses more is timed, but never named the fastest."""
    batch_sizes: tuple[int, ...] = (1, 16)
    """Batch sizes to time. The paper's is 16."""
    num_threads: int = 1
    """Threads every engine is pinned to."""
    frontier: bool = True
    """Whether to time all candidates of the search too, compacted, at the last of the batch sizes: what each would gain."""
    warmup: int = 20
    """Untimed runs of each variant. *Same* (20)."""
    repeats: int = 100
    """Timed runs of each variant, interleaved original / re-engineered. *Same* (100)."""

    def __post_init__(self) -> None:
        require(len(self.engines) >= 1, "engines must name at least one engine, got none")
        require(0 <= self.int8_drop < 1, f"int8_drop must be in [0, 1), got {self.int8_drop}")
        require(all(b >= 1 for b in self.batch_sizes) and len(self.batch_sizes) >= 1, f"batch_sizes must be >= 1, got {self.batch_sizes}")
        require(self.num_threads >= 1, f"num_threads must be >= 1, got {self.num_threads}")
        require(self.warmup >= 0, f"warmup must be >= 0, got {self.warmup}")
        require(self.repeats >= 10, f"repeats must be >= 10, got {self.repeats}")


@dataclass(frozen=True, kw_only=True)
class RegisterConfig:
    """What is registered, and under which name."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    model: Literal["reengineered", "reengineered_finetuned"] = "reengineered_finetuned"
    """Which model becomes the registered version."""
    name_prefix: str = "seam-"
    """The registered model is called <name_prefix><problem>."""
    experiment: str = "seam"
    """MLflow experiment."""
