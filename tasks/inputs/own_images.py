"""Images of a subject's own, beside those of the project."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from seam.configs.data import DataConfig
from tasks.inputs.images import DATASET, IMAGES, Images
from tasks.project.advice import advising
from tasks.project.stage import StageContext
from tasks.project.students import StudentName
from tasks.validate_data import validate


@dataclass(frozen=True)
class _Inside(StageContext):
    """Publishes into a folder of its stage's unfinished work."""

    def folder(self, stage: str, student: StudentName | None = None) -> Path:
        """That folder in the place of the stage's own."""
        found = super().folder(stage, student)
        return found.with_name(f"{found.name}.partial") / IMAGES if stage == self.stage else found


def own_images(context: StageContext, config: DataConfig | None, key: str) -> Images | None:
    """Read and check a data set as the stage validate_data does, and write it in the stage's work folder.

    Args:
        context: of the stage that wants it.
        config: of the data set; None: there is none.
        key: of it in the subject's entry, for messages.

    Returns:
        The images, in a folder with the rest that is known of them; None where there are none.

    Raises:
        DataError: the images cannot be read, or what they should be is not met.
    """
    if config is None:
        return None
    inside = _Inside(
        context.stage,
        context.params,
        context.root,
        context.subject,
        progress=lambda share, text: context.progress(0.0, text),
    )
    with advising(context.run, data=f"{context.whole.row.section}.{context.name}.{key}"):
        validate(inside, config)
    return Images(inside.folder(inside.stage) / DATASET, config)
