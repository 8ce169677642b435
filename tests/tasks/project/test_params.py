"""params.yaml and the command line's changes to it."""

from dataclasses import fields, is_dataclass

import pytest
from ruamel.yaml import YAML

from seam.configs.modules import PUBLISHED
from seam.errors import ConfigError
from tasks.project.change_params import change_params
from tasks.project.params import Params, load_params
from tests.defaults import ROOT, committed, write_params


@pytest.fixture
def params(tmp_path):
    return write_params(tmp_path / "params.yaml", search={"alpha": 1.0})


def test_the_projects_file_lists_every_parameter():
    written = YAML(typ="safe").load(committed("params.yaml"))
    assert list(written) == list(Params.model_fields)
    for name, field in Params.model_fields.items():
        if is_dataclass(field.annotation):
            assert list(written[name]) == [f.name for f in fields(field.annotation)], name


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("search.alpa=1", "unknown parameter 'search.alpa'; did you mean 'search.alpha'?"),
        ("serch.alpha=1", "unknown parameter 'serch'; did you mean 'search'?"),
        ("search.alpha=-1", "alpha must be >= 0, got -1"),
        ("search.alpha=much", "search.alpha: "),
        ("seed=-1", "got -1"),
        ("split_dataset.val_fraction=1", "split_dataset.val_fraction: val_fraction must be in (0, 1), got 1"),
        ("data.kind=zip", "data.kind: "),
        ("problems={}", "at least one target problem"),
        ("problems={Über: [a]}", "lower-case letters"),
        ("problems={digest_code: [a]}", "must not be called like a stage"),
        ("search.alpha", "expected KEY=VALUE"),
        ("search.alpha={", "not YAML"),
        ("seed.x=1", "'seed' holds a value"),
    ],
)
def test_bad_overrides_are_one_line_and_change_nothing(params, override, said):
    before = params.read_bytes()
    with pytest.raises(ConfigError) as caught:
        change_params(params, [override])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert params.read_bytes() == before


def test_what_fills_an_empty_section_is_all_that_changed(params):
    assert change_params(params, ["restructurings.flat.threshold=0.9"]) == [
        "restructurings.flat.threshold: (default) -> 0.9"
    ]
    assert change_params(params, ["modularizations={parts: {}}"]) == ["modularizations.parts: (default) -> {}"]


KNOWN = {"checkpoint": "a.safetensors", "sha256": "0" * 64, "expected_accuracy": 0.9, "mean": [0.5], "std": [0.2]}


@pytest.fixture
def given(tmp_path):
    """Parameters of a project with a checkpoint of which things are known."""
    return write_params(tmp_path / "given.yaml", prepare_source=KNOWN)


@pytest.mark.parametrize(
    ("overrides", "forgotten"),
    [
        (["prepare_source.checkpoint=b.safetensors"], ["expected_accuracy", "sha256"]),
        (["prepare_source.checkpoint=null"], ["expected_accuracy", "sha256"]),
        (["prepare_source.architecture=resnet56"], ["checkpoint", "expected_accuracy", "sha256"]),
        (
            ["prepare_source.architecture=resnet56", "prepare_source.checkpoint=b.safetensors"],
            ["expected_accuracy", "sha256"],
        ),
        (["prepare_source.checkpoint=b.safetensors", "prepare_source.expected_accuracy=0.8"], ["sha256"]),
        (["prepare_source.checkpoint=a.safetensors", "prepare_source.architecture=resnet20", "seed=3"], []),
        (["prepare_source.mean=[0.4]"], []),
    ],
)
def test_what_is_known_of_a_checkpoint_goes_with_it(given, tmp_path, overrides, forgotten):
    changes = change_params(given, overrides)
    asked = {override.partition("=")[0] for override in overrides}
    expected = {f"prepare_source.{key}" for key in forgotten}
    assert {change.partition(":")[0] for change in changes} - asked == expected - asked
    found = load_params(given).prepare_source
    assert [getattr(found, key) for key in forgotten] == [None] * len(forgotten)
    assert found.mean is not None


def test_a_file_of_parameters_forgets_like_overrides(given, tmp_path):
    overlay = tmp_path / "other.yaml"
    overlay.write_text("prepare_source: {checkpoint: b.safetensors, expected_accuracy: 0.7}\n")
    change_params(given, overlay=overlay)
    found = load_params(given).prepare_source
    assert (found.checkpoint, found.sha256, found.expected_accuracy) == ("b.safetensors", None, 0.7)


def test_overrides_keep_comments_and_say_what_changed(params):
    assert change_params(params, ["search.alpha=0.5", "problems={mine: [cat, 7]}"]) == [
        "problems.digit-0: ['0'] -> (removed)",
        "problems.low-digits: ['0', '1', '2', '3', '4'] -> (removed)",
        "problems.mine: (default) -> ['cat', '7']",
        "search.alpha: 1.0 -> 0.5",
    ]
    text = params.read_text()
    assert "# every" in text.lower() and "alpha: 0.5" in text
    assert load_params(params).problems == {"mine": ("cat", "7")}
    before = params.stat().st_mtime_ns
    assert change_params(params, ["search.alpha=0.5"]) == []
    assert params.stat().st_mtime_ns == before


def test_overlay_replaces_what_it_names(params, tmp_path):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("search: {alpha: 2.0}\nproblems: {cats: cat}\n")
    change_params(params, ["seed=7"], overlay)
    loaded = load_params(params)
    assert (loaded.search.alpha, loaded.search.lr_scores, loaded.seed, loaded.problems) == (
        2.0,
        0.005,
        7,
        {"cats": ("cat",)},
    )


def test_files_that_are_not_parameters(tmp_path):
    with pytest.raises(ConfigError, match="no such parameter file"):
        load_params(tmp_path / "none.yaml")
    bad = tmp_path / "bad.yaml"
    for content, said in (("a: [", "expected YAML"), ("- 1", "expected a mapping")):
        bad.write_text(content)
        with pytest.raises(ConfigError, match=said):
            load_params(bad)


def test_the_preset_of_gradsplitter_is_the_published_schedule(params):
    change_params(params, overlay=ROOT / "presets" / "modularize-gradsplitter.yaml")
    (made,) = load_params(params).modularizations.values()
    assert made.method == "gradsplitter" and made.source is None
    assert made.gradsplitter == PUBLISHED


def test_the_papers_preset_is_the_published_search(params):
    change_params(params, overlay=ROOT / "presets" / "paper.yaml")
    search = load_params(params).search
    assert (search.method, search.max_rounds, search.patience, search.select_on, search.head_start) == (
        "drift",
        300,
        0,
        "test",
        "random",
    )
    assert (
        search.lr_scores,
        search.lr_head,
        search.alpha,
        search.head_only_every,
        search.adam_eps,
        search.batch_size,
    ) == (0.05, 0.1, 1.0, 5, 1e-8, 64)
