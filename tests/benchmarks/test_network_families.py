"""docs/networks.md: the page is its cards', and a network goes the whole road to it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from seam.files import read_json
from tasks.report.markdown import wrapped

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import network_families
import networks_page
import one_network

CARDS = {path.stem: read_json(path) for path in networks_page.CARDS.glob("*.json")}


def test_the_page_is_rendered_from_the_cards(tmp_path: Path) -> None:
    networks_page.render(page=tmp_path / "networks.md")
    assert (tmp_path / "networks.md").read_text() == networks_page.PAGE.read_text()


def test_every_network_of_torchvision_is_on_the_page() -> None:
    names = torchvision.models.list_models(module=torchvision.models)
    assert CARDS["torchvision"]["asked"] == [f"torchvision:{name}" for name in names]
    page = networks_page.PAGE.read_text()
    assert all(name in page for name in names)


@pytest.mark.parametrize("library", CARDS)
def test_every_row_has_all_figures_or_says_why_not(library: str) -> None:
    for name, row in CARDS[library]["networks"].items():
        assert row["lost"] or {"side", "channels_free", "macs_left", "difference_onnxruntime"} <= set(row), name
        assert row["lost"] or row["doubts"] or row["maskable"] > 0.9, name


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cards of a network that works, and of one that does not exist."""
    folder = tmp_path_factory.mktemp("cards")
    names = ["torchvision:squeezenet1_1", "torchvision:squeezenet9"]
    network_families.run(names, jobs=1, minutes=5, memory_gb=8, cards=folder)
    return folder


def test_a_network_goes_the_whole_road(cards: Path) -> None:
    row = read_json(cards / "torchvision.json")["networks"]["torchvision:squeezenet1_1"]
    network = torchvision.models.squeezenet1_1(num_classes=10)
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert row["lost"] == []
    assert row["params"] == sum(p.numel() for p in network.parameters())
    assert row["maskable"] == 1
    assert row["channels"] == sum(layer.out_channels for layer in layers)
    assert row["channels_free"] == row["channels"] - 10
    assert row["side"] == 64
    assert 0.15 < row["params_left"] < 0.4
    assert 0 < row["difference_onnxruntime"] < 1e-5
    assert row["file_counted"]
    assert network_families.waiting(["torchvision:squeezenet1_1"], cards=cards) == []
    assert network_families.waiting(["torchvision:squeezenet1_1"], again=True, cards=cards)


def test_what_is_lost_is_on_the_page(cards: Path, tmp_path: Path) -> None:
    networks_page.render(cards, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "- torchvision: 1 of 2 networks are thinned by channels" in page
    assert "| squeezenet1_1 | 64 | 0.7 | 100.0 | 2,944 of 2,954 |" in page
    assert "- `squeezenet9`: ConfigError: architecture 'torchvision:squeezenet9': torchvision has no model" in page
    assert "Not looked at yet: alexnet, convnext_base" in page


def test_a_network_that_takes_too_long_says_so(tmp_path: Path) -> None:
    network_families.run(["torchvision:squeezenet1_1"], jobs=1, minutes=0, memory_gb=8, cards=tmp_path)
    (row,) = read_json(tmp_path / "torchvision.json")["networks"].values()
    assert row["lost"] == ["not finished within 0 minutes"]


def test_a_compacted_network_that_computes_something_else_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    compact = one_network.compact

    def wrong(network: nn.Module, images: torch.Tensor) -> Any:
        found = compact(network, images)
        with torch.no_grad():
            found.module.get_submodule("classifier.1").weight += 0.01
        return found

    monkeypatch.setattr(one_network, "compact", wrong)
    row = one_network.examined("torchvision:squeezenet1_1")
    assert not networks_page.works(row)
    card = {**CARDS["torchvision"], "networks": {"torchvision:squeezenet1_1": {**row, "versions": {}}}}
    assert "- `squeezenet1_1`: the compacted network differs by" in wrapped(networks_page.text({"torchvision": card}))


def test_channels_that_stay_have_a_reason() -> None:
    pytest.importorskip("timm", reason="timm is not installed (pip install 'seam[timm]')")
    row = one_network.examined("timm:convnext_atto")
    assert networks_page.works(row)
    assert row["channels_free"] == row["channels"] - 10 or row["kept"]
