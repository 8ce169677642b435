"""The report in a real browser: on a phone, in the dark, with the network off."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page

from tasks.project.stage import StageContext
from tasks.report.card import build_card, read_evidence
from tasks.report.problem import plots, render_report
from tasks.tracking.gates import judge
from tasks.tracking.policy import POLICY, load_policy
from tests.tasks.report.browser import Screen, in_browser, opened_browser
from tests.tasks.report.one_pass import plant
from tests.tasks.report.page import REGISTRATION, Edit

pytestmark = in_browser


@pytest.fixture
def report(registry_project: StageContext, edit_json: Edit, tmp_path: Any) -> str:
    plant(registry_project, edit_json)
    evidence = read_evidence(registry_project)
    verdicts = judge(
        load_policy(registry_project.root / POLICY), "reengineered_finetuned", evidence.evaluated, evidence.attacked
    )
    path = tmp_path / "report.html"
    card = build_card(registry_project, evidence, verdicts, REGISTRATION)
    path.write_text(render_report(registry_project, card, evidence, plots(evidence, "reengineered_finetuned")))
    return str(path.as_uri())


@pytest.fixture
def screen() -> Iterator[Screen]:
    with opened_browser() as show:
        yield show


def _brightness(page: Page, what: str) -> float:
    channels = page.evaluate(f"getComputedStyle(document.body).{what}.match(/[0-9.]+/g).slice(0, 3).map(Number)")
    return float(sum(channels) / 3)


def test_nothing_is_cut_off_on_a_phone_and_nothing_is_fetched(report: str, screen: Screen) -> None:
    page, outside = screen(report, "light")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("svg").count() >= 4
    assert "seam-zero" in page.inner_text("body") or "champion" in page.inner_text("body")
    assert outside == []


def test_it_is_dark_in_the_dark(report: str, screen: Screen) -> None:
    light, _ = screen(report, "light")
    dark, _ = screen(report, "dark")
    assert _brightness(light, "backgroundColor") > 200 > 80 > _brightness(dark, "backgroundColor")
    assert _brightness(light, "color") < 80 < 180 < _brightness(dark, "color")
