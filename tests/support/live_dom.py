"""What tests of the console's own components do in a browser: they stand in shadow roots."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from support.console_site import ConsoleSite
from support.waiting import until

SHOTS = Path(__file__).parents[2] / "artifacts" / "console"
#: Gives ``found``, wherever Streamlit has put it.
FIND = """
const found = [];
const walk = (node) => {
  if (node.matches?.(SELECTOR)) found.push(node);
  for (const child of [...(node.shadowRoot?.children || []), ...node.children]) walk(child);
};
walk(document.documentElement);
"""

#: What each canvas shows, as a number.
SUMS = f"""
{FIND.replace("SELECTOR", "'canvas'")}
return found.map((canvas) => {{
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let sum = 0;
  for (let i = 0; i < data.length; i += 4) sum += data[i] * (i % 997);
  return sum;
}});
"""


def elements(browser: Any, css: str) -> list[Any]:
    """Also those of components."""
    return browser.execute_script(FIND.replace("SELECTOR", repr(css)) + "return found;")


def opened(
    browser: Any, site: ConsoleSite, name: str, path: str, wanted: str = "body", *, width: int = 1280
) -> None:
    """Sign somebody in, go to a page, and wait for what is wanted there."""
    size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.delete_all_cookies()
    site.sign_in(browser, name)
    browser.get(site.url + path)
    until(lambda: elements(browser, wanted), 30)


def moves(browser: Any) -> bool:
    """Whether any picture changes."""
    before = browser.execute_script(SUMS)
    time.sleep(0.6)
    return before != browser.execute_script(SUMS)


def text_of(browser: Any) -> str:
    """Of the page, but for what stands in components; in one step, as a page may be replaced meanwhile."""
    return str(browser.execute_script("return document.body?.innerText ?? ''"))


def press(browser: Any, label: str, at: int = -1) -> None:
    """A button that can be pressed; of several the last: a dialog's lies above the page's."""
    from selenium.common import exceptions  # not everywhere

    redrawn = (exceptions.StaleElementReferenceException, exceptions.ElementClickInterceptedException)

    def pressed() -> bool:
        try:
            found = [b for b in elements(browser, "button:enabled") if label in b.text and b.is_displayed()]
            if found:
                browser.execute_script("arguments[0].scrollIntoView({block: 'nearest'})", found[at])
                found[at].click()
        except redrawn:
            return False
        return bool(found)

    until(pressed, 20)


def shot(browser: Any, name: str) -> None:
    """Keep a picture of the page, once it stands still, for people to look at."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    time.sleep(0.4)
    browser.save_screenshot(str(SHOTS / f"{name}.png"))
