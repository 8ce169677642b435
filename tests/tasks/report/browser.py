"""The browser in which pages are looked at."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on PATH")
PHONE, DESK = 390, 1280
Screen = Callable[..., tuple[Page, list[str]]]


@contextmanager
def launched() -> Iterator[Browser]:
    """The browser, while the block runs."""
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield browser
        browser.close()


@contextmanager
def opened_browser() -> Iterator[Screen]:
    """A function that opens an address on a screen, a phone's by itself; the page, and the requests that left it."""
    with launched() as browser:

        def show(address: str, scheme: Any = "light", width: int = PHONE) -> tuple[Page, list[str]]:
            page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
            outside: list[str] = []
            page.on("request", lambda request: outside.append(request.url) if request.url.startswith("http") else None)
            page.goto(address)
            return page, outside

        yield show
