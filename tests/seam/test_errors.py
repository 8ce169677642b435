"""Errors of the library: what is wrong and a hint, with no word of a pipeline around it."""

from __future__ import annotations

import ast
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import seam
from seam import errors
from seam.errors import ADVICE, Hint, NoChannelsError, SeamError, SearchError, SuspectResultWarning
from tasks.project.params import Params
from tasks.project.stages import all_stages

LIBRARY = Path(seam.__file__).parent
PIPELINE = re.compile(
    r"params\.yaml|--set|\bstages?\b"
    rf"|\b({'|'.join({*Params.model_fields, *all_stages()})})\.(?!safetensors|json|csv|onnx)[a-z_]+"
    rf"|\b({'|'.join(name for name in all_stages() if '_' in name)})\b"
)
"""A file of parameters, a stage, SECTION.PARAMETER."""


def said_in(source: str) -> Iterator[tuple[int, str]]:
    """Every text, with its line, in what is raised and in what is warned of."""
    tree = ast.parse(source)
    names = [n for n in ast.walk(tree) if isinstance(n, (ast.Raise, ast.Call))]
    for node in names:
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if isinstance(node, ast.Raise) or called.endswith(("warn", "Error", "Warning")):
            for inside in ast.walk(node):
                if isinstance(inside, ast.Constant) and isinstance(inside.value, str):
                    yield inside.lineno, inside.value


def test_no_text_of_the_library_speaks_of_stages_or_their_parameters() -> None:
    found = [
        f"{path.relative_to(LIBRARY)}:{line}: {text}"
        for path in sorted(LIBRARY.rglob("*.py"))
        for line, text in said_in(path.read_text())
        if PIPELINE.search(text)
    ]
    assert found == []
    assert not [text for text in ADVICE.values() if PIPELINE.search(text)]


@pytest.mark.parametrize(
    "planted",
    [
        'raise SearchError(f"round {1}: nan; lower search.lr_head.")',
        'raise SourceError("made of another; run the stage search again.")',
        'raise SourceError("not there; prepare_source makes it.")',
        'warnings.warn("at chance; set transfer.training.lr", SuspectResultWarning)',
        'warnings.warn(SuspectResultWarning("see params.yaml"))',
    ],
)
def test_a_planted_text_is_found(planted: str) -> None:
    assert any(PIPELINE.search(text) for _, text in said_in(planted))


def test_file_names_and_modules_are_no_parameters() -> None:
    assert not PIPELINE.search("source.safetensors: expected seam.search; the search.safetensors of it")


def test_every_hint_has_its_advice() -> None:
    assert set(ADVICE) == set(get_args(Hint))


def test_a_hint_is_said_in_the_words_of_the_library_or_of_the_caller() -> None:
    error = SearchError("the loss is nan, expected a finite number", hint="learning_rate")
    assert str(error) == "the loss is nan, expected a finite number; lower the learning rate."
    advised = error.advise("lower x.lr")
    assert type(advised) is SearchError
    assert str(advised) == "the loss is nan, expected a finite number; lower x.lr."
    assert str(SearchError("nothing to mask.")) == "nothing to mask."


def test_a_name_that_breaks_lines_is_put_on_one() -> None:
    error = SearchError("expected a layer, got 'con\nv\r1\u2028x'", hint="structure")
    assert error.what == "expected a layer, got 'con v 1 x'"
    assert str(error).splitlines() == [str(error)]


@pytest.mark.parametrize("kind", [SeamError, NoChannelsError, SuspectResultWarning])
def test_what_is_wrong_survives_another_process(kind: type[errors._Hinted]) -> None:
    error = pickle.loads(pickle.dumps(kind("wrong", hint="rerun_producer", path=Path("a"))))
    assert (str(error), error.what) == ("wrong; make it anew.", "wrong")
    assert (error.hint, error.path) == ("rerun_producer", Path("a"))
    error = pickle.loads(pickle.dumps(kind("two are wrong:", also=["one", "an\nother"])))
    assert str(error).splitlines() == ["two are wrong:", "  one", "  an other"]
