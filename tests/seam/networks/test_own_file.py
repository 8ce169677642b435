"""A network in a file of the user's, with the files around it."""

import copy
import sys
from pathlib import Path

import pytest

from seam.errors import ConfigError
from seam.networks.build import build
from seam.networks.own_imports import own_code

BLOCKS = "from torch import nn\nWIDTH = {width}\ndef head(n): return nn.Linear(WIDTH, n)\n"
USES = "{imports}\ndef net(num_classes): return head(num_classes)\n"
LAZY = "def net(num_classes):\n    {imports}\n    return head(num_classes)\n"
DATACLASS = """from __future__ import annotations
from dataclasses import dataclass, field
from typing import ClassVar
from torch import nn
@dataclass
class Config:
    width: int = 5
    kinds: ClassVar[tuple[str, ...]] = ()
    names: list[str] = field(default_factory=list)
def net(num_classes):
    return nn.Linear(Config().width, num_classes)
"""


def write(folder: Path, **files: str) -> Path:
    """Files by their names, `__` for a folder and `.py` at the end."""
    for name, content in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def package(folder: Path) -> Path:
    (folder / "__init__.py").write_text("NAME = 'real'\n")
    return folder


@pytest.fixture(autouse=True)
def _as_found():
    before, paths = dict(sys.modules), list(sys.path)
    yield
    new = {name: str(getattr(sys.modules[name], "__file__", "")) for name in sys.modules.keys() - before.keys()}
    assert sys.path == paths
    assert not [name for name, file in new.items() if "pytest-of" in file or name.startswith("own_")]
    assert all(sys.modules.get(name) is module for name, module in before.items())


@pytest.mark.parametrize("shape", [USES, LAZY])
@pytest.mark.parametrize(
    "imports", ["from blocks import head", "from .blocks import head", "from nets.blocks import head"]
)
@pytest.mark.parametrize("is_package", [True, False])
def test_neighbours_however_they_are_imported_are_found_and_are_code(shape, imports, is_package, tmp_path):
    folder = write(tmp_path / "nets", a=shape.format(imports=imports), blocks=BLOCKS.format(width=4), other="x = 1\n")
    if is_package:
        package(folder)
    assert build(f"{folder}/a.py:net", 3).in_features == 4
    names = ["__init__.py", "a.py", "blocks.py"] if is_package else ["a.py", "blocks.py"]
    assert [file.name for file in own_code(folder / "a.py").files] == names
    assert not list(tmp_path.rglob("__pycache__"))


def test_an_edited_neighbour_is_read_again(tmp_path):
    folder = write(tmp_path, a=USES.format(imports="from blocks import head"), blocks=BLOCKS.format(width=4))
    assert build(f"{folder}/a.py:net", 3).in_features == 4
    write(tmp_path, blocks=BLOCKS.format(width=6))  # as many bytes, in the same second
    assert build(f"{folder}/a.py:net", 3).in_features == 6


def test_files_of_one_name_in_two_folders_get_their_own_neighbours(tmp_path):
    for width, name in ((4, "one"), (6, "two")):
        write(tmp_path / name, net=USES.format(imports="from blocks import head"), blocks=BLOCKS.format(width=width))
    for width, name in ((4, "one"), (6, "two"), (4, "one")):
        assert build(f"{tmp_path / name}/net.py:net", 3).in_features == width


def test_a_neighbour_stands_before_an_installed_package_that_is_loaded_and_the_package_comes_back(tmp_path):
    import tqdm

    write(tmp_path, net=USES.format(imports="from tqdm import head"), tqdm=BLOCKS.format(width=4))
    assert build(f"{tmp_path}/net.py:net", 3).in_features == 4
    assert sys.modules["tqdm"] is tqdm


def test_neighbours_of_neighbours_in_packages_above_and_below(tmp_path):
    write(
        tmp_path,
        nets__vision__net="from ..common import head\nfrom .parts import wide\n" + USES.format(imports=""),
        nets__common="from .parts.deep import head\n",
        nets__parts__deep=BLOCKS.format(width=4) + "from importlib import import_module\nimport_module('lib')\n",
        nets__vision__parts="import numpy, json, torch\nwide = open(__file__.replace('parts.py', 'w.json')).read()\n",
        nets__vision__lib="x = 1\n",
        nets__vision__unused="1 / 0\n",
    )
    (tmp_path / "nets/vision/w.json").write_text("{}")
    assert build(f"{tmp_path}/nets/vision/net.py:net", 3).in_features == 4
    files = own_code(tmp_path / "nets/vision/net.py").files
    relative = [str(file.relative_to(tmp_path / "nets")) for file in files]
    assert relative == [
        "common.py",
        "parts/deep.py",
        "vision/lib.py",
        "vision/net.py",
        "vision/parts.py",
        "vision/w.json",
    ]


def test_what_it_names_beside_it_is_code(tmp_path):
    write(tmp_path, net="from pathlib import Path\nT = Path(__file__).with_name('widths.json').read_text()\n")
    (tmp_path / "widths.json").write_text("{}")
    assert [file.name for file in own_code(tmp_path / "net.py").files] == ["net.py", "widths.json"]


def test_modules_in_the_top_folder_of_the_project_are_found_from_anywhere(tmp_path, monkeypatch):
    write(tmp_path, nets__net=USES.format(imports="from common import head"), common=BLOCKS.format(width=4))
    (tmp_path / "dvc.yaml").write_text("")
    assert build(f"{tmp_path}/nets/net.py:net", 3).in_features == 4
    monkeypatch.chdir(tmp_path)
    assert build("nets/net.py:net", 3).in_features == 4
    assert own_code(Path("nets/net.py")).files == [tmp_path / "common.py", tmp_path / "nets/net.py"]


def test_dataclasses_with_postponed_annotations_and_copies_of_what_was_built(tmp_path):
    write(tmp_path, net=DATACLASS)
    network = build(f"{tmp_path}/net.py:net", 3)
    assert copy.deepcopy(network).in_features == 5


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("import nowhere_to_be_found\n", "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3"),
        ("def net(num_classes: int\n", "SyntaxError"),
        ("from ....far import x\n", "ImportError|ModuleNotFoundError"),
    ],
)
def test_what_goes_wrong_is_one_error(content, said, tmp_path):
    write(tmp_path, net=content)
    with pytest.raises(ConfigError, match=said):
        build(f"{tmp_path}/net.py:net", 3)
