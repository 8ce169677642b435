"""What a composition is made of, for DVC: it is stale when its own parts change, not when others do."""

from __future__ import annotations

from tasks.inputs.part_marks import list_marks
from tasks.project.stage import StageContext, StageResult, main


def list_parts(context: StageContext) -> StageResult:
    """Write parts.json, as `list_marks`."""
    return list_marks(context)


if __name__ == "__main__":
    main(list_parts, __doc__)
