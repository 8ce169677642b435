"""What a sweep is asked for, and the points that follow."""

import json

import pytest
from ruamel.yaml import YAML

from flows.sweeps.plan import Setting, params_under, plan_of_flags, points_of, read_plan
from seam.errors import ConfigError
from tests.defaults import write_params

PROBLEMS = {"digit-3": ["3"], "low-digits": ["0", "1", "2"]}


@pytest.fixture
def params(tmp_path):
    return write_params(tmp_path / "params.yaml", problems=PROBLEMS, seed=0, search={"target": 0.1})


def keys(params, **flags):
    return [point.key for point in points_of(read_plan(None, flags), params)]


def test_every_problem_under_every_combination_and_what_changes_nothing_is_no_change(params):
    found = keys(params, seeds="0..1", grid={"search.target": [0.1, 0.3]})
    assert found == [
        "digit-3", "low-digits",  # seed 0 and target 0.1 are those of params.yaml
        "digit-3 search.target=0.3", "low-digits search.target=0.3",
        "digit-3 seed=1", "low-digits seed=1",
        "digit-3 seed=1 search.target=0.3", "low-digits seed=1 search.target=0.3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("written", "seeds"), [("0..3", (0, 1, 2, 3)), ("2", (2,)), ("0, 4", (0, 4)), ([5, 6], (5, 6)), (3, (3,))]
)
def test_seeds(written, seeds):
    assert read_plan(None, {"seeds": written}).seeds == seeds


def test_a_value_given_twice_is_one_point(params):
    assert keys(params, grid={"search.target": [0.3, 0.3]}) == [
        "digit-3 search.target=0.3",
        "low-digits search.target=0.3",
    ]


def test_set_holds_for_all_points(params):
    assert keys(params, subjects=["digit-3"], set={"finetune.epochs": 2}, grid={"seed": [0, 1]}) == [
        "digit-3 finetune.epochs=2",
        "digit-3 finetune.epochs=2 seed=1",
    ]


def test_flags_take_the_place_of_the_keys_of_a_file(tmp_path, params):
    (tmp_path / "weekly.yaml").write_text("subjects: [digit-3]\nseeds: 0..9\ngrid: {search.target: [0.1, 0.2]}\n")
    plan = plan_of_flags(["weekly.yaml"], tmp_path, {"seeds": "1", "name": None}, [], ["finetune.epochs=3"])
    assert (plan.name, plan.subjects, plan.seeds) == ("weekly", ("digit-3",), (1,))
    assert plan.set == {"finetune.epochs": 3}
    assert len(points_of(plan, params)) == 2


def test_grid_of_flags_with_lists_and_text(tmp_path):
    plan = plan_of_flags([], tmp_path, {}, ["search.method=budget,one_pass", "finetune.rates=[],[0.1, 0.2]"], [])
    assert plan.grid == {"search.method": ("budget", "one_pass"), "finetune.rates": ([], [0.1, 0.2])}


def test_parameters_under_a_setting_keep_everything_else(params):
    text = params_under(params, Setting((("search.target", json.dumps(0.3)), ("seed", "4"))))
    before, after = YAML(typ="safe").load(params.read_text()), YAML(typ="safe").load(text)
    assert (after["seed"], after["search"]["target"]) == (4, 0.3)
    before["seed"], before["search"]["target"] = 4, 0.3
    assert after == before
    assert text.startswith("# Every number a user may change.")
    assert params_under(params, Setting()) == params.read_text()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"subjects": ["digit-9"]}, "unknown 'digit-9', expected names of params.yaml: digit-3, low-digits"),
        ({"grid": {"search.targt": [1]}}, "did you mean 'search.target'?"),
        ({"grid": {"search.target": [2.0]}}, "search.target"),
        ({"grid": {"search.target": []}}, "search.target has no values"),
        ({"seeds": "5..1"}, "from the lower to the higher"),
        ({"seeds": "one"}, "seeds: "),
        ({"seeds": [-1]}, "seeds"),
        ({"name": "../elsewhere"}, "name: "),
        ({"superclasses": "mnist"}, "superclasses: "),
        ({"grid": {"seed": list(range(6000))}}, "at most 10,000 points, got 12,000"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_before_anything_runs(params, flags, expected):
    with pytest.raises(ConfigError, match=expected.replace("?", r"\?").replace(".", r"\.")) as error:
        keys(params, **flags)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("subject: [a]", "unknown key 'subject'; known: name, subjects"),
        ("- a", "expected the keys of a sweep, got list"),
        ("a: [", "expected YAML"),
    ],
)
def test_a_file_that_is_no_plan(tmp_path, text, expected):
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(ConfigError, match=expected):
        read_plan(tmp_path / "plan.yaml", {})


def test_flags_that_are_no_settings(tmp_path):
    for grid, overrides in ((["search.target"], []), (["=1"], []), (["a=[1"], []), ([], ["a"]), ([], ["a=[1"])):
        with pytest.raises(ConfigError, match=r"expected|not YAML"):
            plan_of_flags([], tmp_path, {}, grid, overrides)
    with pytest.raises(ConfigError, match="one file"):
        plan_of_flags(["a.yaml", "b"], tmp_path, {}, [], [])
    with pytest.raises(ConfigError, match="no such file"):
        plan_of_flags(["a.yaml"], tmp_path, {}, [], [])
