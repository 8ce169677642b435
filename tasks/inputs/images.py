"""Prepared images, and the data set they are of: the project's, or one of a subject's own."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from seam.configs.data import DataConfig
from seam.errors import ConfigError
from seam.files import read_json, sha256_file, write_json
from tasks.project.stage import StageContext

IMAGES = "data"
"""Folder of a subject's own, in what its stage publishes."""
DATASET = "dataset.safetensors"
ABOUT = "about.json"


@dataclass(frozen=True)
class Images:
    """A data set."""

    dataset: Path
    """dataset.safetensors."""
    config: DataConfig


def project_images(context: StageContext) -> Images:
    """Those of the section `data`."""
    return Images(context.artifact("validate_data", DATASET), context.params.data)


def write_about(images: Images, own: bool, folder: Path) -> None:
    """Write about.json into a folder: which data set it is, and whether it is the subject's own."""
    about = {"own": own, **asdict(images.config), "dataset_sha256": sha256_file(images.dataset)}
    write_json(folder / ABOUT, about)


def images_in(published: Path) -> Images | None:
    """Those of its own that a stage published in a folder; None: there are none.

    Raises:
        ConfigError: what is said of them cannot be read.
    """
    dataset, about = (published / IMAGES / name for name in (DATASET, ABOUT))
    if not dataset.is_file():
        return None
    try:
        known = {key: value for key, value in read_json(about).items() if key not in ("own", "dataset_sha256")}
        return Images(dataset, DataConfig(**known))
    except (OSError, ValueError, TypeError) as e:
        raise ConfigError(f"{about}: expected what is known of {DATASET}, got {e}; copy all of the folder.") from e
