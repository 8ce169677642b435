"""What can go wrong because of what the user gave us.

    SeamError
    ├── ConfigError        a parameter: unknown, out of range, contradictory
    ├── DataError          images, labels, classes, splits
    ├── SourceError        the trained network: file, keys, shapes, accuracy
    │   └── DivergedError      a training whose loss is not finite
    ├── MaskError          a mask that does not fit its weights or its source
    ├── SearchError        a search that cannot go on (nothing to mask, NaN)
    │   └── NoChannelsError    a network whose channels cannot be searched
    ├── ExportError        ONNX export or an engine that disagrees with torch
    ├── TrackingError      the MLflow server or registry
    │   └── NoAnswerError      one that does not answer now
    ├── ProvenanceError    a model version that is not what it is said to be, or that nothing vouches for
    ├── CacheError         DVC cannot answer or record
    └── DamagedFileError   a file that is not what it should be, too large, or leads elsewhere

Every message says what was expected, what was found, where, and what to do, in one line. Where the
remedy is a number that the caller chose, the library says what is wrong with a hint, and the caller,
who knows what it calls that number, says which one to change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

Hint = Literal[
    "address",
    "architecture",
    "checkpoint",
    "cost",
    "data_path",
    "device",
    "features",
    "image_size",
    "learning_rate",
    "links",
    "max_drop",
    "more_rates",
    "normalisation",
    "num_classes",
    "rerun_producer",
    "search_rate",
    "spatial_dropout",
    "structure",
    "target",
    "threshold",
    "together",
    "val_images",
    "val_seen",
    "which_weights",
]
"""What is to be changed."""
ADVICE: Mapping[Hint, str] = {
    "address": "correct the address",
    "architecture": "give another architecture",
    "checkpoint": "check the name and the network, or download it elsewhere and give the file",
    "cost": "let every weight cost the same",
    "data_path": "give the path to where it is",
    "device": "use auto or cpu",
    "features": "fine-tune without the source's features",
    "image_size": "choose another size to bring images to",
    "learning_rate": "lower the learning rate",
    "links": "put the files there",
    "max_drop": "allow for a larger drop, or say how many blocks go",
    "more_rates": "add others to the rates to choose from",
    "normalisation": "check the weights and the normalisation",
    "num_classes": "give the number it was trained with as num_classes, or transfer it to the new classes",
    "rerun_producer": "make it anew",
    "search_rate": "lower the learning rates of the search",
    "spatial_dropout": "set spatial dropout to 0",
    "structure": "search over single weights",
    "target": "allow for more",
    "threshold": "lower the threshold",
    "together": "search for one problem at a time",
    "val_images": "give images for val, or take it from train",
    "val_seen": "give images for val, or take it from test",
    "which_weights": "say which of them by name",
}
"""What to do, said to somebody who calls the library."""

_Some = TypeVar("_Some", bound="_Hinted")


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())


class _Hinted(Exception):  # noqa: N818  warnings too
    """A message in two parts: what is wrong, and what to do about it."""

    def __init__(
        self, what: str, *, hint: Hint | None = None, path: Path | None = None, also: Sequence[str] = ()
    ) -> None:
        """Take what is wrong, and what is to be changed.

        Args:
            what: expected, got, where; without a full stop where there is a hint. A name in it that breaks
                lines is put on one.
            hint: `ADVICE` has the sentence; None: `what` says all there is to say.
            path: of the file that is wrong, where making it anew is the remedy.
            also: what else is wrong, a line each.
        """
        self.what = _one_line(what)
        super().__init__(self.what)
        self.hint = hint
        self.path = path
        self.also = tuple(_one_line(line) for line in also)

    def __str__(self) -> str:
        said = self.what if self.hint is None else f"{self.what}; {ADVICE[self.hint]}."
        return "\n  ".join([said, *self.also])

    def advise(self: _Some, advice: str) -> _Some:
        """The same, with this advice in place of the library's."""
        return type(self)(f"{self.what}; {advice}.")


class SeamError(_Hinted):
    """Base of every error a user can mend."""


class ConfigError(SeamError, ValueError):
    """A parameter is unknown, out of range or contradicts another."""


class DataError(SeamError, ValueError):
    """The images, labels, classes or splits are not what they should be."""


class SourceError(SeamError, ValueError):
    """The trained network cannot be loaded, or is not what it is said to be."""


class DivergedError(SourceError):
    """The loss of a training is not finite."""


class MaskError(SeamError, ValueError):
    """A mask does not fit the weights, or belongs to another source."""


class SearchError(SeamError, RuntimeError):
    """The mask search cannot go on."""


class NoChannelsError(SearchError):
    """There are no channels of the network that are known to go together, or none that can go."""


class ExportError(SeamError, RuntimeError):
    """A model could not be exported, or an engine disagrees with torch."""


class TrackingError(SeamError, RuntimeError):
    """The MLflow tracking server or registry cannot be used."""


class NoAnswerError(TrackingError):
    """It does not answer, which may pass: worth another try."""


class ProvenanceError(SeamError, RuntimeError):
    """A model version is not what it is said to be, or nothing vouches for it."""


class CacheError(SeamError, RuntimeError):
    """DVC cannot answer or record: busy, not a DVC project, a broken dvc.yaml."""


class DamagedFileError(SeamError, ValueError, KeyError):
    """A file is not what it should be, is larger than it may be, or leads elsewhere.

    Whoever expects what json raises, or a key that is missing, gets this one.
    """


class SuspectResultWarning(_Hinted, UserWarning):
    """A result was computed, and something about it is doubtful; it goes on the model card."""


def words(error: BaseException, most: int = 200) -> str:
    """What an error says, on one line, without advice; its type where it says nothing."""
    said = error.what if isinstance(error, _Hinted) else str(error)
    return " ".join(said.split())[:most] or type(error).__name__
