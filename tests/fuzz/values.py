"""Values of any kind and depth, drawn and made small by Hypothesis, where documents and requests are read."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import torch
from hypothesis import strategies as st

from seam.errors import SeamError
from tasks.project.params import Params, parse_params
from tests.fuzz.judge import judged
from tests.fuzz.programs import Requests
from tests.fuzz.targets import said_so

_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
JSON = st.recursive(
    _SCALARS,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=6), inside, max_size=3),
    max_leaves=12,
)
_PIXELS = st.integers(-2, 300) | st.floats() | st.none()
IMAGES = st.lists(
    st.lists(st.lists(st.lists(_PIXELS, min_size=1, max_size=1), min_size=4, max_size=4), min_size=4, max_size=4),
    max_size=2,
)
_DEFAULTS: Mapping[str, Any] = Params(problems={"a": ("x",)}).model_dump(mode="json")
_SECTIONS = sorted(
    name for name, value in _DEFAULTS.items() if isinstance(value, dict) and value and name != "problems"
)


@st.composite
def parameters(draw: st.DrawFn) -> dict[str, Any]:
    """A document with a few parameters of any value."""
    found: dict[str, Any] = {"problems": {"a": ["x"]}}
    for section in draw(st.lists(st.sampled_from(_SECTIONS), max_size=2, unique=True)):
        keys = draw(st.lists(st.sampled_from(sorted(_DEFAULTS[section])), max_size=2, unique=True))
        found[section] = {key: draw(JSON) for key in keys}
    return found


def check_parameters(document: dict[str, Any]) -> None:
    """They say what the document does, or one line says what is wrong."""
    try:
        read = parse_params(document, "params.yaml")
    except SeamError:
        return
    assert said_so(read.model_dump(mode="json"), document), f"{document} was read as something else"


def check_request(requests: Requests, body: bytes) -> None:
    """It is answered as another reader of JSON reads it, or refused in one line."""
    with tempfile.TemporaryDirectory() as folder:
        verdict = judged(lambda: requests.asked("application/json", body), Path(folder))
    assert not verdict.is_wrong, verdict.outcome


def checks(folder: Path) -> Mapping[str, tuple[st.SearchStrategy[Any], Callable[[Any], None]]]:
    """What is drawn, and what has to hold for it."""
    requests = Requests(folder)

    def body(content: Any) -> bytes:
        return json.dumps({"inputs": content}).encode()

    return {
        "parameters of any value": (parameters(), check_parameters),
        "requests of any value": (JSON, lambda content: check_request(requests, json.dumps(content).encode())),
        "requests of almost images": (IMAGES, lambda images: check_request(requests, body(images))),
        "requests of any bytes": (st.binary(max_size=300), lambda content: check_request(requests, content)),
    }


def tried(name: str, folder: Path, seed: int, count: int) -> None:
    """Draw so many, always the same for a seed; raises what is wrong, with the smallest that shows it."""
    strategy, check = checks(folder)[name]
    torch.set_flush_denormal(False)  # a training in this process turned it on; Hypothesis draws denormals
    settings = hypothesis.settings(
        max_examples=count, database=None, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    hypothesis.seed(seed)(settings(hypothesis.given(strategy)(check)))()


NAMES = ("parameters of any value", "requests of any value", "requests of almost images", "requests of any bytes")
