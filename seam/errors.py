"""What can go wrong because of what the user gave us.

    SeamError
    ├── ConfigError        a parameter: unknown, out of range, contradictory
    ├── DataError          images, labels, classes, splits
    ├── SourceError        the trained network: file, keys, shapes, accuracy
    ├── MaskError          a mask that does not fit its weights or its source
    ├── SearchError        a search that cannot go on (nothing to mask, NaN)
    │   └── NoChannelsError    a network whose channels cannot be searched
    ├── ExportError        ONNX export or an engine that disagrees with torch
    └── TrackingError      the MLflow server or registry

Every message says what was expected, what was found, where, and what to do, in one line. The
command line prints that line and exits with status 1; the traceback goes to the log.
"""


class SeamError(Exception):
    """Base of every error a user can mend."""


class ConfigError(SeamError, ValueError):
    """A parameter is unknown, out of range or contradicts another."""


class DataError(SeamError, ValueError):
    """The images, labels, classes or splits are not what they should be."""


class SourceError(SeamError, ValueError):
    """The trained network cannot be loaded, or is not what it is said to be."""


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


class SuspectResultWarning(UserWarning):
    """A result was computed, and something about it is doubtful; it goes on the model card."""
