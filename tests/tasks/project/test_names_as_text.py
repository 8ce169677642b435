"""Names of classes and problems are the text that somebody wrote, by every way into the parameters."""

import pytest
from ruamel.yaml import YAML

from seam.errors import ConfigError
from tasks.project.change_params import add_problems, change_params
from tasks.project.names_as_text import are_misread, names_as_text
from tasks.project.params import load_params, parse_params

WRITTEN = (
    "010",
    "10",
    "1e3",
    "on",
    "no",
    "yes",
    "true",
    "null",
    "~",
    "1_000",
    "0x1F",
    "2020-01-01",
    "0o7",
    "1.10",
    ".5",
)
LIST = ", ".join(WRITTEN)


@pytest.fixture
def params(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("seed: 0\nproblems:\n  first: [a]   # kept\n")
    return path


@pytest.mark.parametrize("text", [f"[{LIST}]", "\n" + "".join(f"  - {name}\n" for name in WRITTEN)])
def test_in_the_file(params, text):
    params.write_text(f"seed: 010\nproblems:\n  p: {text}\n")
    loaded = load_params(params)
    assert loaded.problems == {"p": WRITTEN}
    assert loaded.seed == 10  # a number is one


@pytest.mark.parametrize(
    "override",
    [f"problems={{p: [{LIST}]}}", f"problems.p=[{LIST}]", "problems.p=\n" + "\n".join(f"- {n}" for n in WRITTEN)],
)
def test_from_the_command_line(params, override):
    change_params(params, [override])
    assert load_params(params).problems["p"] == WRITTEN
    assert tuple(YAML(typ="safe").load(params)["problems"]["p"]) == WRITTEN  # as DVC reads it


@pytest.mark.parametrize("name", WRITTEN)
def test_a_single_class_without_a_list(params, name):
    change_params(params, [f"problems.p={name}"])
    assert load_params(params).problems["p"] == (name,)


def test_from_a_file_of_changes(params, tmp_path):
    (tmp_path / "shop.yaml").write_text("problems: {010: [007, &a 1e3], q: [*a]}\n")
    change_params(params, overlay=tmp_path / "shop.yaml")
    assert load_params(params).problems == {"010": ("007", "1e3"), "q": ("1e3",)}


def test_problems_that_are_added(params):
    add_problems(params, {"many": list(WRITTEN)})
    assert load_params(params).problems == {"first": ("a",), "many": WRITTEN}


def test_a_file_that_dvc_would_misread_is_written_with_quotes_once(params):
    params.write_text("problems:\n  p: [010, 3]   # kept\n")
    assert change_params(params) == ["names that YAML takes for others: quoted"]
    assert params.read_text() == 'problems:\n  p: ["010", "3"]   # kept\n'
    assert change_params(params) == []


@pytest.mark.parametrize("text", ["problems: {p: [3, a b, 'x']}\n", "problems: {p: a}\nseed: 010\n", "", "[1]\n"])
def test_what_every_reader_takes_for_the_same_is_left_alone(text):
    assert not are_misread(text)
    assert names_as_text(text, ["search", "alpha"]) == text


def test_numbers_from_python_and_nothing_at_all():
    assert parse_params({"problems": {"p": [3]}}, "here").problems == {"p": ("3",)}
    with pytest.raises(ConfigError, match=r"problems\.p: a problem must name its classes, got nothing"):
        parse_params({"problems": {"p": None}}, "here")
