"""Problems in bulk, and writing them to params.yaml."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from flows.commands.problems import extend_problems, list_problems
from seam.data.problem_sets import (
    CIFAR100_SUPERCLASSES,
    IMAGENET_SUPERCLASSES,
    SUPERCLASSES,
    every_class,
    slug,
    superclass_problems,
)
from seam.errors import ConfigError, DataError
from tasks.project.change_params import add_problems
from tasks.project.params import load_params, parse_params
from tasks.project.stages import PROBLEM
from tasks.project.subject import chosen

FINE = sorted(c for members in CIFAR100_SUPERCLASSES.values() for c in members)
PARAMS = """\
# mine
seed: 1
data:
  kind: npz
  path: d.npz  # here
problems:
  # two of them
  cats: [cat]
  pets: ["cat", "dog"]   # not the eel

# how much is held out
split_dataset:
  val_fraction: 0.25
"""


@pytest.fixture
def project(tmp_path):
    """A project over the classes cat, dog, eel and 7 (no image of it decodes)."""
    images = np.zeros((8, 8, 8), dtype=np.uint8)
    arrays = {"x_train": images, "y_train": np.arange(8) % 4, "x_test": images, "y_test": np.arange(8) % 4}
    np.savez(tmp_path / "d.npz", **arrays, classes=np.array(["cat", "dog", "Eel fish", "7"]))
    (tmp_path / "params.yaml").write_text(PARAMS)
    return tmp_path


def test_cifar100_has_twenty_superclasses_of_five():
    assert len(CIFAR100_SUPERCLASSES) == 20
    assert {len(members) for members in CIFAR100_SUPERCLASSES.values()} == {5}
    assert len(set(FINE)) == 100
    assert CIFAR100_SUPERCLASSES["vehicles_2"] == ("lawn_mower", "rocket", "streetcar", "tank", "tractor")


def test_imagenet_has_64_superclasses_that_share_no_class():
    assert SUPERCLASSES["imagenet"] is IMAGENET_SUPERCLASSES
    wnids = [wnid for members in IMAGENET_SUPERCLASSES.values() for wnid in members]
    assert len(IMAGENET_SUPERCLASSES) == 64
    assert len(wnids) == len(set(wnids)) == 1000 - 3
    assert all(re.fullmatch(r"n\d{8}", wnid) for wnid in wnids)
    assert not {"n01704323", "n01768244", "n02454379"} & set(
        wnids
    )  # triceratops, trilobite, armadillo: alone in their superclass
    assert all(list(members) == sorted(members) for members in IMAGENET_SUPERCLASSES.values())  # ImageNet's own order


def test_imagenets_superclasses_are_those_published():
    sizes = {name: len(members) for name, members in IMAGENET_SUPERCLASSES.items()}
    known = {
        "crocodile": 2,
        "monotreme": 2,
        "sloth": 2,
        "lab equipment": 2,
        "vehicle": 49,
        "electronics": 49,
        "bird": 59,
        "dog": 119,
    }
    assert {name: sizes[name] for name in known} == known
    assert (min(sizes.values()), max(sizes.values()), round(sum(sizes.values()) / 64, 1)) == (2, 119, 15.6)
    assert IMAGENET_SUPERCLASSES["sloth"] == ("n02134418", "n02457408")  # sloth bear, three-toed sloth
    assert IMAGENET_SUPERCLASSES["rodent"][-1] == "n03793489"  # the computer mouse: as published


def test_importing_the_sets_imports_no_torch():
    code = "import sys, seam.data.problem_sets; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3]).returncode == 0


def test_superclasses_of_the_classes_that_are_there():
    problems = superclass_problems(CIFAR100_SUPERCLASSES, FINE)
    assert list(problems)[:1] == ["aquatic_mammals"] and len(problems) == 20
    assert list(
        superclass_problems(CIFAR100_SUPERCLASSES, ["ray", "shark", "trout", "flatfish", "aquarium_fish", "seal"])
    ) == ["fish"]
    with pytest.raises(DataError, match="expected a data set with the classes of a superclass") as caught:
        superclass_problems(CIFAR100_SUPERCLASSES, ["cat", "dog"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("cat", "cat"),
        ("Eel fish", "eel-fish"),
        ("large_man-made things", "large_man-made-things"),
        ("7", "class-7"),
        ("Äpfel!", "pfel"),
        ("猫", "class"),
        ("all", "class-all"),
        ("--x", "x"),
        ("n01440764", "n01440764"),
    ],
)
def test_slugs_are_names_of_problems(name, made):
    assert slug(name) == made
    assert re.fullmatch(r"[a-z0-9][a-z0-9_-]*", made)
    parse_params({"problems": {made: ["x"]}}, "test")


def test_classes_of_the_same_slug_get_numbers():
    assert every_class(["a b", "a.b", "A-B"]) == {"a-b": ("a b",), "a-b-2": ("a.b",), "a-b-3": ("A-B",)}


def test_every_class_is_added_once_and_the_rest_of_the_file_stays(project):
    line = extend_problems(project, True, None)
    assert line == "params.yaml: 3 problems added (1 were there), 5 in all; run them with `seam run --problem all`."
    text = (project / "params.yaml").read_text()
    added = '  dog: ["dog"]\n  eel-fish: ["Eel fish"]\n  class-7: ["7"]\n'
    assert text == PARAMS.replace("# not the eel\n", f"# not the eel\n{added}")
    assert load_params(project / "params.yaml").problems["class-7"] == ("7",)
    assert "0 problems added (4 were there)" in extend_problems(project, True, None)
    assert (project / "params.yaml").read_text() == text


def test_superclasses_that_the_data_does_not_have(project):
    before = (project / "params.yaml").read_bytes()
    with pytest.raises(DataError, match="the classes of a superclass"):
        extend_problems(project, False, "cifar100")
    with pytest.raises(ConfigError, match=r"--superclasses cifar10: expected one of: cifar100, imagenet\."):
        extend_problems(project, False, "cifar10")
    assert (project / "params.yaml").read_bytes() == before


def test_superclasses_are_added_and_what_does_not_fit_is_named(project):
    images = np.zeros((100, 8, 8), dtype=np.uint8)
    np.savez(
        project / "d.npz",
        x_train=images,
        y_train=np.arange(100),
        x_test=images,
        y_test=np.arange(100),
        classes=np.array(FINE),
    )
    line = extend_problems(project, False, "cifar100")
    assert "20 problems added, 22 in all; remove cats, pets, whose classes the data set does not have;" in line
    assert load_params(project / "params.yaml").problems["trees"] == CIFAR100_SUPERCLASSES["trees"]


def test_imagenets_superclasses_are_added_where_they_are_whole(project):
    there = [
        *IMAGENET_SUPERCLASSES["crocodile"],
        *IMAGENET_SUPERCLASSES["lab equipment"],
        "n02134418",
    ]  # one of two sloths
    images = np.zeros((5, 8, 8), dtype=np.uint8)
    np.savez(
        project / "d.npz",
        x_train=images,
        y_train=np.arange(5),
        x_test=images,
        y_test=np.arange(5),
        classes=np.array(there),
    )
    assert "2 problems added, 4 in all;" in extend_problems(project, False, "imagenet")
    problems = load_params(project / "params.yaml").problems
    assert list(problems) == ["cats", "pets", "crocodile", "lab-equipment"]
    assert problems["lab-equipment"] == ("n02815834", "n03920288")


def test_problems_are_listed_with_their_classes(project):
    assert list_problems(project) == ["cats  cat (against the rest)", "pets  cat, dog"]


@pytest.mark.parametrize(
    "text",
    [
        "problems: {a: [b]}  # c\nseed: 1\n",
        "problems:\n    a:\n    - b\n\n\nseed: 1",
        "seed: 1\nproblems:\n  a: [b]\n# end",
        '"problems": {a:\n  [b]}\nseed: 1\n',
    ],
)
def test_added_problems_whatever_the_style_of_the_file(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    add_problems(path, {"no": ("x: y", '"'), "1e3": ("null",)})
    assert YAML(typ="safe").load(path.read_text()) == {
        "seed": 1,
        "problems": {"a": ["b"], "no": ["x: y", '"'], "1e3": ["null"]},
    }


def test_problems_that_are_not_valid_are_not_written(project):
    with pytest.raises(ConfigError, match="lower-case letters"):
        add_problems(project / "params.yaml", {"Not a name": ("cat",)})
    assert (project / "params.yaml").read_text() == PARAMS


def test_all_means_every_problem(project):
    params = load_params(project / "params.yaml")
    for names in (["all"], ["pets", "all"], []):
        assert [problem.name for problem in chosen(params, PROBLEM, names)] == ["cats", "pets"]
    assert [problem.name for problem in chosen(params, PROBLEM, ["pets"])] == ["pets"]
    with pytest.raises(ConfigError, match="unknown problem 'dogs'"):
        chosen(params, PROBLEM, ["all", "dogs"])


def test_the_command_lists_adds_and_fails_in_one_line(project):
    (project / "dvc.yaml").write_text("stages: {}\n")

    def seam(*arguments):
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "COLUMNS": "160"}
        return subprocess.run(
            [sys.executable, "-m", "flows.cli", "problems", *arguments],
            cwd=project,
            env=environment,
            capture_output=True,
            text=True,
        )

    assert seam().stdout.splitlines() == ["cats  cat (against the rest)", "pets  cat, dog"]
    added = seam("--every-class")
    assert (
        added.returncode == 0
        and added.stdout.startswith("params.yaml: 3 problems added")
        and added.stdout.count("\n") == 1
    )
    failed = seam("--superclasses", "cifar100")
    assert failed.returncode == 1 and failed.stderr.count("\n") == 1 and "the classes of a superclass" in failed.stderr
    (project / "d.npz").unlink()
    assert "set data.path to where it is" in seam("--every-class").stderr
