"""The table of who may what, for docs/access.md: ``python tests/support/rights_table.py --write``."""

import sys
from pathlib import Path

from sightline.access.rights import RIGHTS
from sightline.entities import Role

BEGIN, END = "<!-- rights -->", "<!-- /rights -->"


def rights_table() -> str:
    titles = ["right", "what", "of a camera", "nobody", *Role]
    rows = [titles, ["---"] * len(titles)]
    for right, rule in RIGHTS.items():
        least = -1 if rule.least is None else rule.least.rank
        ticks = ["✓" if rank >= least else "" for rank in range(-1, len(Role))]
        rows.append([f"`{right}`", rule.meaning, "yes" if rule.of_camera else "", *ticks])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    page = Path(__file__).resolve().parents[2] / "docs" / "access.md"
    before, _, rest = page.read_text().partition(BEGIN)
    text = f"{before}{BEGIN}\n{rights_table()}\n{END}{rest.partition(END)[2]}"
    if "--write" in sys.argv:
        page.write_text(text)
    else:
        sys.stdout.write(text)
