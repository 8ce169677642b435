"""Read the data set that a network is transferred to, check it, and write it decoded in one file.

As validate_data does.
"""

from __future__ import annotations

from seam.errors import DataError
from tasks.project.stage import StageContext, StageResult, main
from tasks.validate_data import validate


def validate_target(context: StageContext) -> StageResult:
    """Write dataset.safetensors, manifest.parquet, validation.json and data_docs/.

    Raises:
        DataError: as `tasks.validate_data.validate`, with the target's parameters by name.
    """
    try:
        return validate(context, context.params.targets[context.name])
    except DataError as e:
        raise DataError(str(e).replace("set data.", f"set targets.{context.name}.")) from e


if __name__ == "__main__":
    main(validate_target, __doc__)
