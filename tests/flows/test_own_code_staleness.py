"""An edit of a user's own file, or of a neighbour that it imports, is seen by `seam` and by DVC; with stub stages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.stage_cache import shared_cache
from tasks.project.change_params import change_params
from tasks.project.own_code import LINKS
from tasks.project.subject import Address
from tests.flows.dvc_command import dvc as plain_dvc
from tests.flows.ran import ran
from tests.stub_stages import sitecustomize

STUBS = Path(__file__).parents[1] / "stub_stages"
SOURCE = Address("dvc.yaml", "prepare_source")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project whose network is in a file that imports another; its source is prepared, by plain `dvc repro`."""
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_SITE_CACHE_DIR", str(folder / "site"))
        patch.setenv("DVC_NO_ANALYTICS", "1")
        root: Path = sitecustomize.make_project(folder / "project")
        (root / "nets").mkdir()
        (root / "nets/net.py").write_text("from blocks import head\ndef net(num_classes): return head(num_classes)\n")
        (root / "nets/blocks.py").write_text("from torch import nn\ndef head(n): return nn.Linear(4, n)\n")
        dvc(root, "repro", str(SOURCE))
        change_params(root / "params.yaml", ["prepare_source.architecture=nets/net.py:net"])
        dvc(root, "repro", str(SOURCE))
        ran(root)
        patch.chdir(root)
        yield root
        shared_cache.cache_clear()


def dvc(root: Path, *arguments: str) -> str:
    return plain_dvc(root, *arguments, PYTHONPATH=f"{STUBS}:{root}")


def stale(root: Path) -> set[str]:
    """Of the digests and the source, what DVC alone would run."""
    return set(json.loads(dvc(root, "status", "--json", "digest_code", str(SOURCE))))


def edit(path: Path) -> None:
    path.write_text(f"{path.read_text()}# edited\n")


def test_nothing_runs_twice_for_a_file_that_was_named_since(project: Path) -> None:
    dvc(project, "repro", str(SOURCE))
    assert ran(project) == [] and stale(project) == set()
    assert not shared_cache(project).staleness(SOURCE) and stale(project) == set()


@pytest.mark.parametrize("name", ["net.py", "blocks.py"])
def test_dvc_alone_runs_the_source_again_after_an_edit_and_only_once(project: Path, name: str) -> None:
    edit(project / "nets" / name)
    assert stale(project) == {"digest_code"}
    dvc(project, "repro", str(SOURCE))
    assert ran(project) == ["prepare_source@None"] and stale(project) == set()
    assert not shared_cache(project).staleness(SOURCE)


def test_seam_sees_the_edit_too_and_other_stages_do_not(project: Path) -> None:
    edit(project / "nets/blocks.py")
    assert shared_cache(project).staleness(SOURCE).reasons == ("code modified",)
    assert shared_cache(project).is_current(Address("dvc.yaml", "validate_data"))
    dvc(project, "repro", str(SOURCE))
    ran(project)


def test_files_around_it_that_it_does_not_need_do_not_count(project: Path) -> None:
    (project / "nets/other.py").write_text("x = 1\n")
    assert stale(project) == set()


def test_links_go_where_the_architecture_is_no_file_any_more(project: Path) -> None:
    assert sorted(link.name.partition("_")[2] for link in (project / LINKS).iterdir()) == ["blocks.py", "net.py"]
    change_params(project / "params.yaml", ["prepare_source.architecture=resnet20"])
    assert shared_cache(project).staleness(SOURCE)
    assert not (project / LINKS).exists()
