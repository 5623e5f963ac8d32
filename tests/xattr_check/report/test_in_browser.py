"""The report in Chromium, where there is one: nothing fetched, legible on light, dark and narrow."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from xattr_check import run_battery

pytestmark = pytest.mark.browser
PATHS = ("chromium", "chromium-browser", "google-chrome")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    path = next((found for name in PATHS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"none of {', '.join(PATHS)} is here")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of two methods, one of which fails."""
    folder = tmp_path_factory.mktemp("report")
    results = run_battery(
        ["xattr:gradient", "xattr:edges"], checks="depends_on_model, null_feature, deletion", storage=folder
    )
    return results.save_report(folder / "report.html")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1100), ("dark", 1100), ("light", 360)])
def test_it_looks_as_it_should(scheme: str, width: int, browser: Any, page_file: Path) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page, faults, requests = context.new_page(), [], []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(page_file.as_uri())
    assert not faults
    assert all(url.startswith(("file:", "data:")) for url in requests)
    # Nothing is wider than the window, but for what scrolls in a frame of its own.
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    ink = page.evaluate("getComputedStyle(document.querySelector('.chart svg text')).fill")
    assert ink == page.evaluate("getComputedStyle(document.body).color")
    context.close()


def test_figures_are_visible_and_links_open_what_they_lead_to(browser: Any, page_file: Path) -> None:
    page = browser.new_page()
    page.goto(page_file.as_uri())
    links = page.locator("a[href^='#']")
    targets = {links.nth(number).get_attribute("href") for number in range(links.count())}
    for target in targets - {"#main"}:
        page.goto(f"{page_file.as_uri()}{target}")
        found = page.locator(f"id={target[1:]}")
        assert found.is_visible()
        for chart in found.locator("svg").all():
            assert chart.bounding_box()["height"] > 40
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("main > section > details:not([open])").count() == 0
    page.close()


def test_it_works_with_the_keyboard(browser: Any, page_file: Path) -> None:
    page = browser.new_page()
    page.goto(page_file.as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.locator("summary").first.focus()
    was = page.evaluate("document.activeElement.parentElement.open")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.parentElement.open") is not was
    page.close()
