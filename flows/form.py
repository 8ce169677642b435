"""Names of subjects and changes of parameters, as the forms of deployments ask for them on Prefect's pages.

A value that is none of the choices is refused before there is a run. The names are those of
params.yaml when the deployment was made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from flows.project import find_root
from seam.errors import SeamError
from tasks.project.params import load_params
from tasks.project.stages import COMPOSITION, MODULARIZATION, PATCH, PROBLEM, RESTRUCTURING, SELECTION, TARGET


@dataclass(frozen=True)
class _Choice:
    """In the form, text is one of the names of a kind; which there are is looked up when the form is made."""

    section: str

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> Any:
        names = self._names()
        return handler(core) | ({"enum": [*names, "all"]} if names else {})

    def _names(self) -> list[str]:
        root = find_root()
        try:
            return list(getattr(load_params(root / "params.yaml"), self.section)) if root else []
        except SeamError:
            return []


Problems = list[Annotated[str, _Choice(PROBLEM.section)]]
Targets = list[Annotated[str, _Choice(TARGET.section)]]
Restructurings = list[Annotated[str, _Choice(RESTRUCTURING.section)]]
Modularizations = list[Annotated[str, _Choice(MODULARIZATION.section)]]
Compositions = list[Annotated[str, _Choice(COMPOSITION.section)]]
Patches = list[Annotated[str, _Choice(PATCH.section)]]
Selections = list[Annotated[str, _Choice(SELECTION.section)]]
Overrides = list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+=", json_schema_extra={"example": "search.alpha=0.5"})]]
ParamsFile = Annotated[str, Field(pattern=r"\.ya?ml$", json_schema_extra={"example": "presets/milliseconds.yaml"})]
