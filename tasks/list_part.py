"""What a model is patched with, for DVC: the patch is stale when its own part changes, not when others do."""

from __future__ import annotations

from tasks.inputs.part_marks import list_marks
from tasks.project.stage import StageContext, StageResult, main


def list_part(context: StageContext) -> StageResult:
    """Write parts.json, as `list_marks`."""
    return list_marks(context)


if __name__ == "__main__":
    main(list_part, __doc__)
