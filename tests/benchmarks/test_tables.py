"""Tables of measured figures in the pages of results."""

from __future__ import annotations

import pytest

from benchmarks.parts import tables
from tests.support.pages import DOCS, RESULTS


def test_tables_are_those_of_the_data():
    for page in RESULTS:
        assert tables.fill(page.read_text(), DOCS / "results" / "data") == page.read_text()


def test_every_table_is_shown_once():
    shown = [name for page in RESULTS for name in tables.MARKED.findall(page.read_text())]
    assert sorted(shown) == sorted(path.stem for path in (DOCS / "results" / "data").glob("*.json"))


TABLE = {
    "title": "Speed",
    "command": "python benchmarks/x.py",
    "date": None,
    "revision": None,
    "machine": "two cores",
    "columns": ["what", "steps/s"],
    "rows": [["reach", 3], ["push", None]],
}


def test_a_table_is_rendered():
    assert tables.render(TABLE) == (
        "**Speed**\n\n| what | steps/s |\n| --- | --- |\n| reach | 3 |\n| push |  |\n\n"
        "`python benchmarks/x.py` · two cores"
    )


@pytest.mark.parametrize("wrong", [{"rows": [["reach"]]}, {"extra": 1}])
def test_a_wrong_table_is_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        tables.render({**TABLE, **wrong})
