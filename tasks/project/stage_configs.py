"""Sections of `params.yaml` that the library has no use for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from seam.configs.check import Ge, NotEmpty, config, require
from seam.configs.data import DataConfig
from seam.configs.modules import ModulesConfig
from seam.configs.selection import SelectConfig
from seam.methods.catalogue import MODULES, names
from tasks.project.measured import Registrable
from tasks.project.source_changes import SourceChanges


def _text(value: Any) -> Any:
    """Names are text, from Python too, where one may be a number."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


@config
class EvaluateConfig:
    """What the re-engineered model is compared with on the test images."""

    adapt_epochs: Annotated[int, Ge(0)] = 10
    """Epochs that head and normalisation layers of every compared mask get, at the search's rates;
    0: a fitted head alone."""
    retrain_epochs: Annotated[int, Ge(0)] = 20
    """Epochs of a network of the same architecture trained from scratch on the target problem, at
    the source's rates; 0: leave it out."""


@config
class RegisterConfig:
    """What is registered, and under which name."""

    model: Registrable = "reengineered_finetuned"
    """Which model becomes the registered version."""
    name_prefix: str = "seam-"
    """The registered model is called <name_prefix><problem>."""
    experiment: str = "seam"
    """MLflow experiment."""


def _with_path(value: Any) -> Any:
    """A data set without a path would be the project's."""
    if isinstance(value, Mapping) and "path" not in value:
        raise ValueError(
            "data must have a path, got none; for example {kind: image_folder, path: flowers, image_size: 224}"
        )
    return value


OwnData = Annotated[DataConfig | None, BeforeValidator(_with_path)]
"""A data set beside that of the project; null: there is none."""


@config
class PatchConfig:
    """A weak model, and a module for the class that it is weak at."""

    of: Annotated[str, NotEmpty(), BeforeValidator(_text)]
    """Whose module: a name under `modularizations`, or a folder that `seam modularize` made elsewhere."""
    class_: Annotated[str, NotEmpty(), BeforeValidator(_text), Field(alias="class")]
    """The class."""
    weak: SourceChanges = None
    """The weak model: keys of `prepare_source` that differ, as {epochs: 1} or {architecture: ..., checkpoint: ...};
    null: the source itself."""
    caution: Annotated[float, Ge(0)] = 1.0
    """Standard errors by which images of other classes have to gain on val: the more, the fewer are lost on
    new images, and the less is gained for the class."""


def _texts(value: Any) -> Any:
    """Several names; one alone is a list of it."""
    if value is None:
        return None
    return tuple(_text(v) for v in value) if isinstance(value, list | tuple) else (_text(value),)


@config
class CompositionConfig:
    """Modules that are put together."""

    of: Annotated[tuple[str, ...], NotEmpty(), BeforeValidator(_texts)]
    """Whose modules: names under `modularizations`, or folders that `seam modularize` made elsewhere."""
    classes: Annotated[tuple[str, ...] | None, BeforeValidator(_texts)] = None
    """Of the network, in the order of its logits; null: all that there are modules for."""


@config
class ModularizationConfig(ModulesConfig):
    """How the source is taken apart into a module a class."""

    method: str = "gradsplitter"
    """One that makes modules (`seam methods`); its numbers are the section with its name."""
    data: OwnData = None
    """Images of its own, with the keys of `data`: a network is trained on them, or a checkpoint that `source` names is
    loaded, and taken apart; null: the project's."""
    source: SourceChanges = None
    """What is taken apart: keys of `prepare_source` that differ, as {architecture: ..., checkpoint: ...};
    null: the source itself."""

    def __post_init__(self) -> None:
        super().__post_init__()
        known = names(MODULES)
        require(self.method in known, f"method must be one of {', '.join(known)}, got '{self.method}'")


@config
class SelectionConfig(SelectConfig):
    """Trained networks to choose from, and what for."""

    candidates: Annotated[tuple[str, ...], NotEmpty(), BeforeValidator(_texts)]
    """Files of weights, folders of them, folders with a source.json, torchvision:NAME, addresses, models:/NAME/VERSION;
    each ARCHITECTURE=CHECKPOINT where the architecture is none that is tried by itself."""
    problem: Annotated[str | None, BeforeValidator(_text)] = None
    """For a target problem of `problems`; null: for all classes of the data."""
    data: OwnData = None
    """Images to choose by, with the keys of `data`; null: the project's."""
    architectures: tuple[str, ...] = ()
    """Tried, before the built-in ones, for weights whose architecture is not named."""
    mean: tuple[float, ...] | None = None
    """Normalisation of networks that have none of their own; null: of the images."""
    std: tuple[float, ...] | None = None
    """See `mean`."""

    def __post_init__(self) -> None:
        require((self.mean is None) == (self.std is None), "mean and std must be given together, got one alone")
        require(self.problem is None or self.data is None, "problem must be null where data is given, got both")
