"""A real browser: Debian's Chromium without a window. Whoever asks for it is skipped where it is missing."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.waiting import until

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
#: What a video element does with a file: it plays for a moment, then shows the frame at a position.
_PLAY = """
const [position, done] = arguments;
const video = document.querySelector("video");
const seen = {};
const end = (problem) => done({...seen, error: problem || (video.error && video.error.message)});
video.addEventListener("error", () => end());
video.muted = true;
video.play().then(() => setTimeout(() => {
  Object.assign(seen, {readyState: video.readyState, played_s: video.currentTime});
  Object.assign(seen, {seconds: video.duration, size: [video.videoWidth, video.videoHeight]});
  video.pause();
  video.requestVideoFrameCallback((_, frame) => { seen.shown_s = frame.mediaTime; end(); });
  video.currentTime = position;
}, 1000), (error) => end(error.message));
"""


@contextlib.contextmanager
def chromium(profile: Path, *flags: str) -> Iterator[Any]:
    """A Chromium with a profile of its own, and its driver."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if not (CHROMIUM and DRIVER):
        pytest.skip("no chromium and chromedriver (Debian: chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, *flags, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def fill_in(browser: Any, form: str, **values: str) -> None:
    """Fill a form in, once it is shown, and send it."""
    until(lambda: browser.find_element("id", form).is_displayed(), 10)
    for name, value in values.items():
        browser.find_element("css selector", f"#{form} [name={name}]").send_keys(value)
    browser.find_element("css selector", f"#{form} button").click()


def play(browser: Any, video: Path, position_s: float) -> dict[str, Any]:
    """What became of a file in a video element.

    ``readyState``, ``played_s`` after a second, ``seconds``, ``size``, ``shown_s`` (the time of the frame
    that it shows at ``position_s``), and ``error``.
    """
    browser.get(video.as_uri())
    found: dict[str, Any] = browser.execute_async_script(_PLAY, position_s)
    return found
