"""Read the data set that a network is transferred to, check it, and write it decoded in one file.

As validate_data does.
"""

from __future__ import annotations

from tasks.project.stage import StageContext, StageResult, main
from tasks.validate_data import validate


def validate_target(context: StageContext) -> StageResult:
    """Write dataset.safetensors, manifest.parquet, validation.json and data_docs/.

    Raises:
        DataError: the images cannot be read, or what they should be is not met.
    """
    return validate(context, context.params.targets[context.name])


if __name__ == "__main__":
    main(validate_target, __doc__)
