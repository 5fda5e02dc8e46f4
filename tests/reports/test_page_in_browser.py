"""The page in Chromium: drawn, moving, read by keyboard and in the dark. Skipped without chromium, chromedriver or selenium."""

import re
import shutil
import time

import numpy as np
import pytest

from stlight_jax.reports.frame_display import pixels
from stlight_jax.reports.page import Page, write_page
from tests.reports.pages import LEADS, clips, everything

selenium = pytest.importorskip("selenium.webdriver")
_BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (_BROWSER and _DRIVER), reason="chromium and chromedriver are not installed")
_SWITCHES = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = selenium.ChromeOptions()
    options.binary_location = _BROWSER
    for switch in (*_SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = selenium.Chrome(options=options, service=selenium.ChromeService(executable_path=_DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(path, Page(**everything()))
    return path.as_uri()


@pytest.fixture
def opened(browser, page):
    """Opens the page as somebody with such a screen and such settings sees it."""

    def open_page(scheme="light", motion="reduce", width=1280):
        features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": motion}
        media = {"features": [{"name": name, "value": value} for name, value in features.items()]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        browser.get_log("browser")
        browser.get(page)
        until(lambda: browser.execute_script("return document.querySelectorAll('canvas').length == 8"))
        return browser

    yield open_page
    messages = [line for line in browser.get_log("browser") if line["level"] != "INFO"]
    assert [line for line in messages if "getImageData" not in line["message"]] == []  # how these tests look at canvases


def until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def position(browser):
    return int(browser.execute_script("return document.getElementById('scrubber').value"))


def press(browser, key, at="player"):
    element = browser.find_element("id", at)
    browser.execute_script("arguments[0].focus()", element)
    element.send_keys(key)


def pixel(browser, panel, x, y):
    context = "document.querySelectorAll('canvas')[arguments[0]].getContext('2d')"
    return browser.execute_script(f"return [...{context}.getImageData(arguments[1], arguments[2], 1, 1).data]", panel, x, y)[:3]


def test_names_do_no_harm_and_nothing_is_loaded(opened):
    browser = opened()
    assert browser.execute_script("return window.harmed === undefined")
    loaded = browser.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert all(name.startswith("data:") for name in loaded)


def test_keys_step_and_canvases_show_the_frames(opened):
    keys, clip = selenium.Keys, clips()[0]
    expected = {1: pixels(clip.truth), 2: pixels(clip.prediction), 3: pixels(clip.prediction - clip.truth, error=True)}
    browser = opened()
    assert position(browser) == 0
    for key, at in (
        (keys.ARROW_RIGHT, 1),
        (keys.ARROW_RIGHT, 2),
        (keys.ARROW_LEFT, 1),
        (keys.END, 3),
        (keys.ARROW_RIGHT, 0),
        (keys.END, 3),
    ):
        press(browser, key)
        assert position(browser) == at
        for panel, frames in expected.items():
            until(lambda panel=panel, frames=frames, at=at: pixel(browser, panel, 5, 5) == frames[at, 5, 5].tolist())
            assert pixel(browser, panel, 0, 0) == frames[at, 0, 0].tolist()
    assert pixel(browser, 0, 5, 5) == pixels(clip.inputs)[2, 5, 5].tolist()  # three inputs; the last one stays
    scrubber = browser.find_element("id", "scrubber")
    assert scrubber.get_attribute("aria-valuetext") == "4 of 4: truth lead time 4 of 4"
    press(browser, keys.ARROW_LEFT, "scrubber")
    assert position(browser) == 2
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert browser.execute_script(outline) == "solid"


def test_colour_bars_have_their_ends_and_the_colours_of_the_frames(opened):
    browser = opened()
    bars = browser.find_elements("css selector", ".clip .bars div")
    assert [bar.text.split() for bar in bars] == [["0", "1"], ["-1", "+1"]] * 2
    assert bars[1].get_attribute("aria-label") == "Colour bar of differences, from -1 to +1"
    script = "return getComputedStyle(arguments[0].querySelector('i')).backgroundImage"
    colours = [re.findall(r"rgb\(([^)]*)\)", browser.execute_script(script, bar)) for bar in bars[:2]]
    ramp = [np.linspace(0, 1, 2), np.linspace(-1, 1, 5)]
    for found, values, error in zip(colours, ramp, (False, True), strict=True):
        expected = pixels(values[:, None, None], error=error)[:, 0]
        np.testing.assert_allclose([[int(part) for part in colour.split(",")] for colour in found], expected, atol=1)


def test_space_plays_and_pauses_and_motion_is_only_for_those_who_like_it(opened):
    browser = opened(motion="reduce")
    button = browser.find_element("id", "play")
    time.sleep(0.8)
    assert (button.text, position(browser)) == ("Play", 0)
    press(browser, " ")
    assert button.text == "Pause"
    until(lambda: position(browser) > 0)
    press(browser, " ")
    at = position(browser)
    assert button.text == "Play"
    time.sleep(0.8)
    assert position(browser) == at
    button.click()
    until(lambda: position(browser) != at)
    press(browser, " ", "play")  # the button's own key: once, not twice
    assert button.text == "Play"

    browser = opened(motion="no-preference")
    assert browser.find_element("id", "play").text == "Pause"
    until(lambda: position(browser) > 0)


def test_speed_is_how_often_it_steps(opened):
    browser = opened(motion="reduce")
    browser.execute_script(
        "const real = setInterval; window.waits = []; window.setInterval = (f, wait) => (waits.push(wait), real(f, wait));"
    )
    speed = browser.find_element("id", "speed")
    speeds = [float(option.get_attribute("value")) for option in speed.find_elements("css selector", "option")]
    assert len(speeds) > 2
    press(browser, " ")
    for option in speed.find_elements("css selector", "option"):
        option.click()
    waits = browser.execute_script("return waits")
    assert waits[0] == 350
    assert waits[-1] == 350 / speeds[-1]
    assert set(waits) == {350 / of for of in speeds}
    press(browser, " ")
    speed.find_elements("css selector", "option")[0].click()
    assert browser.execute_script("return waits") == waits  # attribute stands still goes on standing


def test_charts_are_drawn_switched_and_read(opened):
    browser = opened()
    chart = browser.find_elements("css selector", ".chart")[0]
    assert len(chart.find_elements("css selector", ".plot path.line")) == 4
    assert len(chart.find_elements("css selector", ".legend li")) == 4
    dashes = {path.get_attribute("stroke-dasharray") for path in chart.find_elements("css selector", ".plot path.line")}
    assert len(dashes) == 4  # messages apart without colour
    browser.execute_script("arguments[0].focus()", chart.find_element("css selector", ".plot svg"))
    plot = chart.find_element("css selector", ".plot svg")
    plot.send_keys(selenium.Keys.ARROW_RIGHT)
    plot.send_keys(selenium.Keys.ARROW_RIGHT)
    text = chart.find_element("css selector", "output").text
    assert text.startswith("lead time 2: STLight")
    assert text.endswith("11; copy last frame 31; mean of the inputs 21; best constant image 25")
    chart.find_elements("css selector", ".views input")[2].click()
    assert len(chart.find_elements("css selector", ".plot path.line")) == 3
    # One of four values is not finite: the line has a gap instead of a mark.
    marks = chart.find_elements("css selector", ".plot path.marker")
    assert len(marks) == 3 * LEADS - 1


def luminance(colour):
    """WCAG's, of "rgb(r, g, b)"."""
    channels = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    lighter, darker = sorted((luminance(a), luminance(b)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_both_colour_schemes_have_contrast(opened):
    papers = {}
    for scheme in ("light", "dark"):
        browser = opened(scheme)

        def colour(selector, attribute, browser=browser):
            return browser.execute_script(f"return getComputedStyle(document.querySelector('{selector}')).{attribute}")

        papers[scheme] = luminance(colour("body", "backgroundColor"))
        card = colour(".chart", "backgroundColor")
        for selector, attribute, least in (
            ("body", "color", 7), (".remarks", "color", 4.5), ("summary", "color", 4.5), (".chart text", "fill", 4.5)
        ):  # fmt: skip
            assert contrast(colour(selector, attribute), card) > least, (scheme, selector)
        assert contrast(colour("#play", "color"), colour("#play", "backgroundColor")) > 4.5
        lines = browser.execute_script(
            "return [...document.querySelectorAll('.plot .line')].map((e) => getComputedStyle(e).stroke)"
        )
        assert len(set(lines)) == 4
        assert min(contrast(line, card) for line in lines) > 3  # WCAG's least for graphics
    assert papers["light"] > 0.8
    assert papers["dark"] < 0.05


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_screen(opened, width):
    browser = opened(width=width)
    browser.execute_script("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
