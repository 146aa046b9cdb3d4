"""States of cameras in which something is missing, or is what it should not be."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

#: Part of a state (None: all of it), the way to a value in it, and what that becomes.
Damage = tuple[str | None, list[int], Any]
RUBBISH = [None, "x", "1", -1, 3.5, 10**30, 1e300, True, [], {}, [[]], {"version": 3}, "gone"]
damages = st.tuples(
    st.sampled_from([None, "windows", "windows", "tracker", "timebase", "classes", "rules"]),
    st.lists(st.integers(0, 20), max_size=6),
    st.sampled_from(RUBBISH),
).filter(
    lambda one: one[0] != "classes" or not isinstance(one[2], str) or one[2] == "gone"
)  # a name is a name


def damage(state: Any, where: str | None, path: list[int], rubbish: Any) -> Any:
    """The state with one value of it replaced, or taken away."""
    outer: Any = {"state": state}
    root, key = outer, "state"
    for step in () if where is None else (where, *path):
        node = outer[key]
        keys = sorted(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        if not keys:
            break
        outer, key = (
            node,
            keys[step % len(keys)] if isinstance(step, int) else step if step in keys else keys[0],
        )
    if rubbish == "gone":
        del outer[key]
    else:
        outer[key] = copy.deepcopy(rubbish)  # else rubbish could be put into itself
    return root.get("state", {})
