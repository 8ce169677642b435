"""The report in a real browser: on a phone, in the dark, with the network off."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

from tasks.project.stage import StageContext
from tasks.report.card import build_card, read_evidence
from tasks.report.problem import plots, render_report
from tasks.tracking.gates import judge
from tasks.tracking.policy import POLICY, load_policy
from tests.tasks.report.one_pass import plant
from tests.tasks.report.page import REGISTRATION, Edit

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on PATH")


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
def phone() -> Iterator[Any]:
    """A function that opens an address on a phone's screen, and the requests that left the page."""
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )

        def show(address: str, scheme: Any) -> tuple[Page, list[str]]:
            page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme=scheme)
            outside: list[str] = []
            page.on("request", lambda request: outside.append(request.url) if request.url.startswith("http") else None)
            page.goto(address)
            return page, outside

        yield show
        browser.close()


def _brightness(page: Page, what: str) -> float:
    channels = page.evaluate(f"getComputedStyle(document.body).{what}.match(/[0-9.]+/g).slice(0, 3).map(Number)")
    return float(sum(channels) / 3)


def test_nothing_is_cut_off_on_a_phone_and_nothing_is_fetched(report: str, phone: Any) -> None:
    page, outside = phone(report, "light")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("svg").count() >= 4
    assert "seam-zero" in page.inner_text("body") or "champion" in page.inner_text("body")
    assert outside == []


def test_it_is_dark_in_the_dark(report: str, phone: Any) -> None:
    light, _ = phone(report, "light")
    dark, _ = phone(report, "dark")
    assert _brightness(light, "backgroundColor") > 200 > 80 > _brightness(dark, "backgroundColor")
    assert _brightness(light, "color") < 80 < 180 < _brightness(dark, "color")
