"""Write the tables of docs/results from the JSON of the benchmarks.

    python benchmarks/parts/tables.py [--check]

Each docs/results/data/NAME.json holds {"title", "command", "date", "revision", "machine", "columns": [...],
"rows": [[...]]}; unknown values are null. A page shows it between `<!-- table: NAME -->` and `<!-- end -->`. With
`--check` nothing is written, and the exit status is 1 if a page is out of date.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"
MARKED = re.compile(r"<!-- table: (\S+) -->\n.*?<!-- end -->", re.DOTALL)
FIELDS = {"title", "command", "date", "revision", "machine", "columns", "rows"}


def render(table: Mapping) -> str:
    """Return a table as Markdown: title, rows, and a line with its origin.

    Raises:
        ValueError: for missing or unknown fields, or a row of another length than the columns.
    """
    if set(table) != FIELDS:
        raise ValueError(f"fields are {', '.join(sorted(table))}; expected {', '.join(sorted(FIELDS))}")
    columns, rows = table["columns"], table["rows"]
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"row {row} has {len(row)} cells, expected {len(columns)}")
    lines = [columns, ["---"] * len(columns), *rows]
    origin = [f"`{table['command']}`", table["date"], table["revision"], table["machine"]]
    return "\n".join(
        [
            f"**{table['title']}**",
            "",
            *("| " + " | ".join("" if cell is None else str(cell) for cell in line) + " |" for line in lines),
            "",
            " · ".join(part for part in origin if part),
        ]
    )


def fill(page: str, data: Path) -> str:
    """Return `page` with every marked table rendered anew from the JSON files in `data`."""

    def table(match: re.Match[str]) -> str:
        name = match[1]
        try:
            text = render(json.loads((data / f"{name}.json").read_text()))
        except ValueError as error:
            raise ValueError(f"{name}.json: {error}") from None
        return f"<!-- table: {name} -->\n\n{text}\n\n<!-- end -->"

    return MARKED.sub(table, page)


def main() -> int:
    """Write or check all pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if a page is out of date")
    check = parser.parse_args().check
    stale = []
    for path in sorted(RESULTS.glob("*.md")):
        text = path.read_text()
        filled = fill(text, RESULTS / "data")
        if filled != text:
            stale.append(path.name)
            if not check:
                path.write_text(filled)
    print(f"{'out of date' if check else 'written'}: {', '.join(stale) or 'none'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
