"""What tests of the console's own components do in a browser: they stand in shadow roots."""

from __future__ import annotations

import time
from functools import partial
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


def texts(browser: Any, css: str) -> list[str]:
    """Of what is to be seen of that; in one step, as it may be replaced meanwhile."""
    seen = "return found.filter((node) => node.checkVisibility()).map((node) => node.innerText);"
    return [str(text) for text in browser.execute_script(FIND.replace("SELECTOR", repr(css)) + seen)]


def look(browser: Any, *, width: int = 1280, height: int = 1000, scheme: str = "light") -> None:
    """At a size of window, in a colour scheme; an open page follows."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)


def opened(
    browser: Any,
    site: ConsoleSite,
    name: str,
    path: str,
    wanted: str = "body",
    *,
    width: int = 1280,
    height: int = 1000,
    scheme: str = "light",
) -> None:
    """Sign somebody in, go to a page, and wait for what is wanted there."""
    look(browser, width=width, height=height, scheme=scheme)
    browser.delete_all_cookies()
    site.sign_in(browser, name)
    browser.get(site.url + path)
    until(lambda: elements(browser, wanted), 30)


def fits(browser: Any, width: int) -> bool:
    """Whether the page is no wider than that."""
    return bool(browser.execute_script("return document.documentElement.scrollWidth") <= width)


def moves(browser: Any) -> bool:
    """Whether any picture changes."""
    before = browser.execute_script(SUMS)
    time.sleep(0.6)
    return before != browser.execute_script(SUMS)


def tile_names(browser: Any) -> list[str]:
    """Of the cameras whose tiles there are, in their order; in one step, as they may be replaced."""
    labels = FIND.replace("SELECTOR", "'.tile'") + "return found.map((tile) => tile.ariaLabel ?? '');"
    return [label.partition(":")[0] for label in browser.execute_script(labels)]


def text_of(browser: Any) -> str:
    """Of the page, but for what stands in components; in one step, as a page may be replaced meanwhile."""
    return str(browser.execute_script("return document.body?.innerText ?? ''"))


def press(
    browser: Any, label: str, at: int = -1, *, css: str = "button:enabled", timeout_s: float = 20
) -> None:
    """A button, or what ``css`` finds, so labelled; of several the last: a dialog's is above the page's."""
    from selenium.common import exceptions  # not everywhere

    redrawn = (exceptions.StaleElementReferenceException, exceptions.ElementClickInterceptedException)

    def pressed() -> bool:
        try:
            found = [b for b in elements(browser, css) if label in b.text and b.is_displayed()]
            if found:
                browser.execute_script("arguments[0].scrollIntoView({block: 'nearest'})", found[at])
                found[at].click()
        except redrawn:
            return False
        return bool(found)

    until(pressed, timeout_s)


def says(browser: Any, text: str) -> None:
    """Wait for a text on the page."""
    until(lambda: text in text_of(browser), 20)


def write(browser: Any, label: str, value: str) -> None:
    """Into a field of the page, in place of what is there, and on to the next."""
    from selenium.webdriver.common.keys import Keys

    until(lambda: elements(browser, f'input[aria-label="{label}"]'), 20)
    [field] = elements(browser, f'input[aria-label="{label}"]')
    field.send_keys(Keys.CONTROL + "a")
    field.send_keys(value + Keys.TAB)


def choose(browser: Any, label: str, *options: str) -> None:
    """Of a list: what one types, and Enter."""
    from selenium.common import exceptions  # not everywhere
    from selenium.webdriver.common.keys import Keys

    def chosen(option: str) -> bool:
        try:
            field = elements(browser, f'input[aria-label*="{label}"]')[-1]
            browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", field)
            field.send_keys(Keys.CONTROL + "a")
            field.send_keys(option)
            until(lambda: elements(browser, "[role=option]"), 10)
            field.send_keys(Keys.ENTER)
            field.send_keys(Keys.ESCAPE)
        except (
            exceptions.StaleElementReferenceException,
            exceptions.ElementNotInteractableException,
            IndexError,
        ):
            return False
        return True

    for option in options:
        until(partial(chosen, option), 20)


def tap(browser: Any, x: float, y: float, *, drag_to: tuple[float, float] | None = None) -> None:
    """Press at shares of the picture, with a real pointer."""
    [canvas] = elements(browser, ".stage canvas:not(.tracks)")
    box = browser.execute_script("return arguments[0].getBoundingClientRect().toJSON()", canvas)

    def send(kind: str, at: tuple[float, float]) -> None:
        where = {"x": box["x"] + at[0] * box["width"], "y": box["y"] + at[1] * box["height"]}
        event = {"type": kind, "button": "left", "clickCount": 1, **where}
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", event)

    send("mousePressed", (x, y))
    for at in [drag_to] if drag_to else []:
        send("mouseMoved", at)
    send("mouseReleased", drag_to or (x, y))


def click_new(browser: Any, label: str) -> None:
    """As a pointer does it: by keyboard a place lies in the middle at once."""
    [button] = [b for b in elements(browser, ".editor button") if b.text == label]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()


def set_field(browser: Any, name: str, value: str) -> None:
    """One of the chosen line's or zone's, in the editor."""
    until(lambda: elements(browser, f".panel input[name={name}]"), 10)
    [field] = elements(browser, f".panel input[name={name}]")
    change = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change'))"
    browser.execute_script(change, field, value)


def saved(browser: Any) -> None:
    """See what a change does, and save it."""
    press(browser, "Review and save")
    says(browser, "The difference in the file")
    press(browser, "Save")
    until(lambda: "Before it is saved" not in text_of(browser), 20)


def shot(browser: Any, name: str) -> None:
    """Keep a picture of the page, once it stands still, for people to look at."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    time.sleep(0.4)
    browser.save_screenshot(str(SHOTS / f"{name}.png"))
