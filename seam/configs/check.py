"""Every number a user may change, as frozen dataclasses (one per section of `params.yaml`).

No torch here: the command line validates parameters without paying for its import. Each
`__post_init__` raises `ValueError` with a message of the form "name must be ..., got ...".
"""

from __future__ import annotations

STRICT = {"extra": "forbid"}
"""Read by pydantic when it validates params.yaml into such classes."""


def require(condition: bool, message: str) -> None:
    """Raise a ValueError with this message unless the condition holds."""
    if not condition:
        raise ValueError(message)
