"""What tests of the console's own components do in a browser: they stand in shadow roots."""

from __future__ import annotations

from typing import Any

from support.console_site import ROOT, ConsoleSite
from support.waiting import until

SHOTS = ROOT / "artifacts" / "console"
#: Gives ``found``, wherever Streamlit has put it.
FIND = """
const found = [];
const walk = (node) => {
  if (node.matches?.(SELECTOR)) found.push(node);
  for (const child of [...(node.shadowRoot?.children || []), ...node.children]) walk(child);
};
walk(document.documentElement);
"""


def elements(browser: Any, css: str) -> list[Any]:
    """Also those of components."""
    return browser.execute_script(FIND.replace("SELECTOR", repr(css)) + "return found;")


def opened(browser: Any, site: ConsoleSite, name: str, path: str, wanted: str, *, width: int = 1280) -> None:
    """Sign somebody in, go to a page, and wait for what is wanted there."""
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.delete_all_cookies()
    site.sign_in(browser, name)
    browser.get(site.url + path)
    until(lambda: elements(browser, wanted), 30)


def text_of(browser: Any) -> str:
    """Of the page, but for what stands in components."""
    return str(browser.find_element("css selector", "body").text)


def press(browser: Any, label: str) -> None:
    """Click the button with this label, once it is there."""
    until(lambda: [b for b in browser.find_elements("css selector", "button") if label in b.text], 20)
    next(b for b in browser.find_elements("css selector", "button") if label in b.text).click()


def shot(browser: Any, name: str) -> None:
    """Keep a picture of the page, for people to look at."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    browser.save_screenshot(str(SHOTS / f"{name}.png"))
