"""What every page of the console has to stand: axe, no scrolling sideways, a visible focus on all it has."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import Any

import pytest

from support.live_dom import FIND
from support.waiting import until

WIDE, NARROW = 1280, 390
#: Whether Streamlit has drawn what it was asked for; pages of others are as soon as they are loaded.
_IS_DRAWN = """
const app = document.querySelector("[data-testid=stApp]");
const waits = document.querySelector("[data-testid=stSkeleton], [data-testid=stSpinner]");
return document.readyState === "complete" && (!app || app.dataset.testScriptState === "notRunning" && !waits);
"""
_RUN_AXE = """
const done = arguments[arguments.length - 1];
axe.run(document, {resultTypes: ["violations"]}).then(
  (found) => done(found.violations.flatMap((rule) => rule.nodes.map((node) => ({
    rule: rule.id,
    impact: rule.impact,
    where: node.target.flat().join(" >> "),
    html: node.html.slice(0, 300),
    why: node.failureSummary,
  })))),
  (error) => done([{rule: "axe", impact: "critical", where: "", html: "", why: String(error)}]),
);
"""
#: What stands beyond the right edge, if the page or its main part can be scrolled there.
_SIDEWAYS = """
const width = document.documentElement.clientWidth;
const main = document.querySelector("[data-testid=stMain]") ?? document.documentElement;
const scrolls = [document.documentElement, main].some((part) => part.scrollWidth > part.clientWidth + 1);
if (!scrolls) return [];
const wide = [...main.querySelectorAll("*")].filter((part) => part.getBoundingClientRect().right > width + 1);
return ["it scrolls sideways", ...wide.slice(-5).map((part) => part.outerHTML.slice(0, 200))];
"""
#: Marks what can be reached, and how each looks without the focus.
_BEFORE_TABBING = f"""
const still = document.createElement("style");
still.textContent = "*, *::before, *::after {{ transition: none !important; animation: none !important; }}";
document.head.append(still);
{FIND.replace("SELECTOR", "'a[href], button, input, select, textarea, summary, video, [tabindex]'")}
const near = (element) => {{
  const around = [element.previousElementSibling, element.nextElementSibling];
  for (let at = element, up = 0; at && up < 8; up++) {{
    around.push(at);
    at = at.parentElement ?? at.getRootNode().host;
  }}
  return around.filter((one) => one instanceof Element);
}};
const parts = ["", "::before", "::after"];
window.lookOf = (element) => JSON.stringify(near(element).map((one) => parts.map((part) => {{
  const style = getComputedStyle(one, part || null);
  return [style.outlineStyle === "none" ? "" : style.outline, style.boxShadow, style.borderColor,
          style.backgroundColor, style.textDecoration, style.fill, style.stroke, style.opacity];
}})));
window.canBeReached = (element) => element.isConnected && element.tabIndex >= 0 && !element.disabled
  && element.checkVisibility({{visibilityProperty: true}}) && !element.closest("[inert]")
  && !(element.type === "radio" && !element.checked) && element.getBoundingClientRect().width > 0;
const controls = found.filter(window.canBeReached);
window.wanted = new Map(controls.map((element) => [element, window.lookOf(element)]));
window.reached = new Set();
window.named = (element) => element.outerHTML.replace(/\\s+/g, " ").slice(0, 200);
document.activeElement?.blur();
return window.wanted.size;
"""
#: After a press of Tab: "" while all is well, "end" when the round is over, or what has no visible focus.
#: A video and a table have places of their own, between which Tab goes before it leaves them.
_AFTER_TAB = """
let at = document.activeElement;
while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
if (at === window.at) return "";
window.at = at;
if (!at || at === document.body || window.reached.has(at)) return "end";
window.reached.add(at);
const before = window.wanted.get(at);
return before !== undefined && before === window.lookOf(at) ? "no visible focus: " + window.named(at) : "";
"""
_NOT_REACHED = """
const isReached = (one) => window.reached.has(one)
  || one.role === "radio" && [...window.reached].some((other) => other.parentElement === one.parentElement);
return [...window.wanted.keys()].filter((one) => window.canBeReached(one) && !isReached(one))
  .map((one) => "not reached by Tab: " + window.named(one));
"""
_EVERYTHING = """
const all = [];
const walk = (root) => {
  all.push(root.innerHTML);
  for (const part of root.querySelectorAll("*")) {
    if (part.shadowRoot) walk(part.shadowRoot);
    if (part.value) all.push(part.value);
  }
};
walk(document.documentElement);
return all.join(" ");
"""


def axe_source() -> str:
    """axe-core, MPL-2.0, as a package brings it; whoever asks is skipped without it."""
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None:
        pytest.skip("axe-playwright-python, which brings axe-core, is not installed")
    [folder] = found.submodule_search_locations or [""]
    return (Path(folder) / "axe.min.js").read_text(encoding="utf-8")


def until_drawn(browser: Any) -> None:
    """Until the page has stood still for a moment."""
    calm: list[float] = []

    def is_calm() -> bool:
        if not browser.execute_script(_IS_DRAWN):
            calm.clear()
        calm.append(time.monotonic())
        return calm[-1] - calm[0] >= 0.4

    until(is_calm, 90, every_s=0.1)


def axe_findings(browser: Any, source: str, known: dict[tuple[str, str], str]) -> list[str]:
    """What axe finds serious or critical, but for what is ``known``: rule and part of the place, and why."""
    browser.set_script_timeout(90)
    if not browser.execute_script("return window.axe !== undefined"):
        browser.execute_script(source)
    return [
        f"{item['impact']} {item['rule']} at {item['where']}: {item['html']}\n{item['why']}"
        for item in browser.execute_async_script(_RUN_AXE)
        if item["impact"] in {"serious", "critical"}
        and not any(item["rule"] == rule and part in item["where"] + item["html"] for rule, part in known)
    ]


def sideways(browser: Any) -> list[str]:
    """What makes the page wider than the window; nothing where it is not."""
    found: list[str] = browser.execute_script(_SIDEWAYS)
    return found


def tab_problems(browser: Any, known: dict[str, str]) -> list[str]:
    """What Tab does not reach, or what does not show that it has the focus, but for what is ``known``."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    count = browser.execute_script(_BEFORE_TABBING)
    problems = []
    for _ in range(2 * count + 20):
        ActionChains(browser, duration=0).send_keys(Keys.TAB).perform()
        told = browser.execute_script(_AFTER_TAB)
        if told == "end":
            break
        problems += [told] if told else []
    problems += browser.execute_script(_NOT_REACHED)
    return [problem for problem in problems if not any(part in problem for part in known)]


def everything_in(browser: Any) -> str:
    """All that the page holds, shown or not: markup, the values of fields, and what stands in components."""
    return str(browser.execute_script(_EVERYTHING))
