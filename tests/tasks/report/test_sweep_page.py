"""The page of a sweep, read and used in a real browser: light, dark, on a phone, without script, offline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tasks.report.sweep import render_sweep
from tasks.report.sweep_tables import safe_link
from tests.tasks.report.browser import in_browser, launched
from tests.tasks.report.made_up_sweep import figures, made_up, row

PLAN = {"name": "nightly", "subjects": ["digit-1", "digit-2"], "every_class": False, "grid": {"search.target": [0.3]}}
BASE = {"seed": 0, "search.target": 0.1}
BAD_GATE = {"gate": "accuracy_drop", "passed": False, "text": "accuracy 40.00% against 99.00% of source"}
DOUBT = "'{}': only {} val images"
ROWS = [
    row("digit-10", headline=figures(accuracy=0.97, warnings=[DOUBT.format("digit-10", 3)]), link="../a/report.html"),
    row("digit-2", headline=figures(accuracy=0.4, promoted=False, gates=[BAD_GATE], latency_ms_p50=0.125)),
    row("digit-1 seed=1", headline=figures(accuracy=0.96, warnings=[DOUBT.format("digit-1", 4)])),
    row("digit-1", headline=figures(accuracy=0.94, latency_ms_p50=2.0)),
    row("digit-2 search.target=0.3", "failed", error="search: <got> nan & stopped"),
    row("digit-3", "waiting"),
]

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    """A function that opens the page of rows on a screen of some width."""
    folder: Path = tmp_path_factory.mktemp("pages")
    wrong: list[str] = []
    with launched() as browser:

        def show(rows: Any = ROWS, width: int = 1280, scheme: Any = "light", script: bool = True) -> Page:
            path = folder / f"{len(list(folder.iterdir()))}.html"
            path.write_text(render_sweep("nightly", PLAN, rows, BASE))
            context = browser.new_context(
                viewport={"width": width, "height": 844}, color_scheme=scheme, java_script_enabled=script
            )
            page = context.new_page()
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on("request", lambda one: None if one.url.startswith(("file:", "data:")) else wrong.append(one.url))
            page.goto(path.as_uri())
            return page

        yield show
    assert wrong == [], "errors of the script, and addresses that were asked for"


def text_of(page: Page, selector: str) -> str:
    return " ".join(page.locator(selector).first.inner_text().split())


def column(page: Page, head: str) -> list[str]:
    """Cells of the table of all points that are shown, from top to bottom."""
    heads = page.locator("table.points thead th").all_inner_texts()
    number = [" ".join(text.split()) for text in heads].index(head)
    rows = page.locator("table.points tbody tr:visible").all()
    return [one.locator("th, td").nth(number).inner_text() for one in rows]


@in_browser
def test_it_says_how_the_sweep_went_and_what_needs_a_look(opened: Open) -> None:
    page = opened()
    assert text_of(page, "#closing") == (
        "4 of 6 points done, 1 failed, 1 waiting; 3 promoted, 1 held back by a gate; 40 s of work."
    )
    assert "search: <got> nan & stopped" in text_of(page, ".failures")
    assert text_of(page, ".failures .who") == "digit-2 search.target=0.3"
    worst = [" ".join(text.split()) for text in page.locator(".worst > li").all_inner_texts()]
    assert worst[0] == "digit-2 −59.00 points 40.00% against 99.00%"
    assert worst[1] == "digit-1 −5.00 points 94.00% against 99.00%"
    assert "digit-1 200.0% 2.000 ms against 1.000 ms" in worst
    assert any(text.startswith("accuracy_drop not met by 1 of 4") for text in worst)
    doubts = page.locator("#doubts + ul > li")
    assert doubts.count() == 1
    assert text_of(page, "#doubts + ul > li").startswith("2 'digit-1': only 4 val images digit-1 seed=1, digit-10")
    assert "every_class" not in page.content() and "search.target" in page.locator("details >> nth=-1").inner_html()


@in_browser
def test_means_over_seeds_by_hand(opened: Open) -> None:
    page = opened()
    found = [" ".join(text.split()) for text in page.locator("#seeds ~ div tbody tr").all_inner_texts()]
    assert found[0].startswith("digit-1 search.target=0.1 2 95.00% ± 1.41 −4.00 ± 1.41 10.0% ± 0.0 20.0% ± 0.0")
    assert found[2].startswith("digit-2 search.target=0.3 0 of 1 –")


@in_browser
def test_a_click_on_a_head_sorts_and_what_is_not_known_comes_last(opened: Open) -> None:
    page = opened()
    assert column(page, "subject") == ["digit-1", "digit-1", "digit-2", "digit-2", "digit-3", "digit-10"]
    head = page.locator("table.points th", has_text="accuracy")
    head.get_by_role("button").click()
    assert column(page, "accuracy") == ["97.00%", "96.00%", "94.00%", "40.00%", "–", "–"]
    assert head.get_attribute("aria-sort") == "descending"
    head.get_by_role("button").press("Enter")
    assert column(page, "accuracy") == ["40.00%", "94.00%", "96.00%", "97.00%", "–", "–"]
    assert head.get_attribute("aria-sort") == "ascending"
    assert page.locator("table.points th[aria-sort]").count() == 1
    page.locator("table.points th", has_text="subject").get_by_role("button").click()
    assert column(page, "subject")[-1] == "digit-10"


@in_browser
def test_words_and_menus_filter_the_table_and_the_figures(opened: Open) -> None:
    page = opened()
    page.get_by_role("searchbox").fill("digit-1 seed=1")
    assert column(page, "subject") == ["digit-1"]
    assert text_of(page, "output") == "1 of 6 points"
    shown = page.locator("svg.scatter >> nth=0 >> .dot:not(.out)")
    assert {one.get_attribute("data-rows") for one in shown.all()} == {"1", "0 1"}
    page.get_by_role("button", name="Clear").click()
    page.get_by_label("outcome").select_option("failed")
    assert column(page, "outcome") == ["failed"]
    page.get_by_role("searchbox").fill("nan")
    assert column(page, "outcome") == ["failed"]
    page.locator("#worst ~ div .worst a").first.click()
    assert page.locator("table.points tbody tr:visible").count() == 6
    assert page.locator("tr:target").get_attribute("data-find") == "digit-2 "


@in_browser
def test_points_are_named_on_hover_and_on_focus_and_arrows_go_along(opened: Open) -> None:
    rows = [
        row(f"p{i}", headline=figures(accuracy=a, latency_ms_p50=t))
        for i, (a, t) in enumerate(((0.9, 1.0), (0.95, 2.0), (0.7, 3.0), (0.99, 4.0)))
    ]
    page = opened(rows)
    figure = page.locator("svg.scatter").first
    assert figure.locator(".lead").count() == 3
    figure.locator(".dot[data-rows='2']").hover()
    assert page.locator("#tip").inner_text() == "p2: accuracy 70.00%, 3.000 ms"
    page.mouse.move(0, 0)
    assert page.locator("#tip").is_hidden()
    figure.locator(".dot[data-rows='1']").focus()
    assert page.locator("#tip").inner_text().startswith("p1: accuracy 95.00%")
    page.keyboard.press("ArrowRight")
    assert page.locator("#tip").inner_text().startswith("p2: ")
    assert [" ".join(t.split()) for t in page.locator("figure >> nth=0 >> .leaders li").all_inner_texts()] == [
        "A p0 accuracy 90.00%, 1.000 ms",
        "B p1 accuracy 95.00%, 2.000 ms",
        "C p3 accuracy 99.00%, 4.000 ms",
    ]


@in_browser
def test_without_script_everything_can_be_read(opened: Open) -> None:
    page = opened(script=False)
    assert column(page, "accuracy") == ["94.00%", "96.00%", "40.00%", "–", "–", "97.00%"]
    assert page.locator("form.controls").is_hidden()
    assert page.locator("table.points thead button").count() == 0
    assert page.locator(".dot title").count() > 0


@in_browser
@pytest.mark.parametrize("rows", [ROWS, made_up(6, 2), ROWS[:1], ROWS[-1:], []])
def test_nothing_is_cut_off_on_a_phone(opened: Open, rows: Any) -> None:
    page = opened(rows, width=375)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


CONTRAST = """selector => {
  const rgb = (text) => text.match(/[0-9.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const found = rgb(getComputedStyle(at).backgroundColor);
      if (found.length < 4 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll(selector)].map((element) => {
    const style = getComputedStyle(element);
    const text = element.namespaceURI.endsWith("svg") ? style.fill : style.color;
    const [a, b] = [light(rgb(text)), light(ground(element))];
    return [element.textContent.slice(0, 30), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
  });
}"""


@in_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_the_light_and_in_the_dark(opened: Open, scheme: str) -> None:
    page = opened(scheme=scheme)
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g)[0] < 80")
    assert dark == (scheme == "dark")
    found = page.evaluate(CONTRAST, "h1, h2, p, small, a:not(.dot), td, th, b, summary, dt, dd, .pill, svg text, label")
    assert len(found) > 100
    assert [one for one in found if one[1] < 4.5] == []


@in_browser
def test_a_thousand_points_are_all_there_and_sort(opened: Open) -> None:
    page = opened(made_up(67, 5))
    assert page.locator("table.points tbody tr").count() == 1005
    page.locator("table.points th", has_text="weights").get_by_role("button").click()
    values = page.locator("table.points tbody tr").evaluate_all(
        "rows => rows.map(row => row.cells[7].dataset.v).filter(Boolean).map(Number)"
    )
    assert len(values) > 900 and values == sorted(values)


def test_what_people_named_is_shown_and_not_obeyed() -> None:
    nasty = "<img src=x onerror=alert(1)>\"'&"
    headline = figures(warnings=[nasty], gates=[{"gate": nasty, "passed": False, "text": nasty}], engine=nasty)
    rows = [
        row("a", headline=headline, worker=nasty, link=nasty, setting={nasty: nasty})
        | {"key": nasty, "subject": nasty},
        row("b", "failed", error=nasty),
        row("c", link="javascript:alert(1)"),
    ]
    page = render_sweep(nasty, {"name": nasty}, rows)
    assert "<img" not in page and "javascript:" not in page and "&lt;img src=x" in page


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("../a/report.html", True),
        ("https://mlflow/#/runs/1", True),
        ("javascript:alert(1)", False),
        (" JavaScript:x", False),
        ("data:text/html,x", False),
    ],
)
def test_links_lead_to_pages_alone(address: str, kept: bool) -> None:
    assert safe_link(address) == (address if kept else "")


def test_the_same_rows_give_the_same_page() -> None:
    rows = made_up(4, 2)
    assert render_sweep("n", PLAN, rows, BASE) == render_sweep("n", PLAN, rows, BASE)
