"""HTML fragments of the report's sections."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from evaluation.report import charts as svg
from evaluation.session.results import PolicyResult
from evaluation.statistics.comparison import PairedComparison


def row(head: str, cells: Sequence[str], *, numeric: bool = True) -> str:
    """One row of a table, its head as HTML, its cells as text."""
    kind = ' class="n"' if numeric else ""
    columns = "".join(f"<td{kind}>{escape(cell)}</td>" for cell in cells)
    return f'<tr><th scope="row">{head}</th>{columns}</tr>'


def table(columns: Sequence[str], rows: Sequence[str], caption: str, *, numeric: bool = True) -> str:
    """A table with a caption, which a keyboard can scroll."""
    kind = ' class="n"' if numeric else ""
    first = f'<th scope="col">{escape(columns[0])}</th>' if columns[0] else "<td></td>"
    heads = first + "".join(f'<th scope="col"{kind}>{escape(c)}</th>' for c in columns[1:])
    # A region with a name and a tab stop, so that a keyboard can scroll it on a narrow screen.
    return (
        f'<div class="panel scroll" role="region" tabindex="0" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{heads}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def panel(label: str, content: str, caption: str) -> str:
    """A chart in a frame, which a keyboard can scroll."""
    scrolled = f'<div class="scroll wide" role="region" tabindex="0" aria-label="{escape(label)}">{content}</div>'
    return f'<figure class="panel">{scrolled}<figcaption>{escape(caption)}</figcaption></figure>'


def legend() -> str:
    """What circle and cross mean."""
    return (
        '<ul class="legend"><li><svg viewBox="0 0 14 14" aria-hidden="true"><circle class="hit" cx="7" '
        'cy="7" r="5"/></svg>success</li><li><svg viewBox="0 0 14 14" aria-hidden="true"><path class="miss" '
        'd="M2 2l10 10m0-10l-10 10"/></svg>failure</li></ul>'
    )


def key(i: int) -> str:
    """The dot in the colour of policy number `i`."""
    return f'<span class="key c{i % svg.COLOURS}" aria-hidden="true"></span>'


def percent(share: float) -> str:
    """A share in whole per cent."""
    return f"{100 * share:.0f} %"


def span(low: float, high: float) -> str:
    """An interval of shares in whole per cent."""
    return f"{100 * low:.0f}–{100 * high:.0f} %"


def points(c: PairedComparison) -> tuple[str, str]:
    """A difference in percentage points, and its interval; one that leaves zero out never reads as if it held it."""

    def text(value: float) -> str:
        shown = f"{100 * value:+.1f}".replace("-", "−")
        if float(f"{100 * value:.1f}") != 0:
            return shown
        return ("above 0" if value > 0 else "below 0") if c.significant else "0.0"

    d = c.difference
    return text(d.estimate), f"{text(d.low)} to {text(d.high)}"


def p_text(value: float) -> str:
    """A p-value as text."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def interval_kind(results: Sequence[PolicyResult]) -> str:
    """Name of the intervals of the success rates."""
    return _kind(results, "Wilson", "anytime-valid")


def test_kind(results: Sequence[PolicyResult]) -> str:
    """Name of the test of the paired comparisons."""
    return _kind(results, "McNemar’s exact test", "the sequential test")


def _kind(results: Sequence[PolicyResult], fixed: str, sequential: str) -> str:
    kinds = dict.fromkeys(sequential if r.inference.sequential else fixed for r in results)
    return " or ".join(kinds)


def dot(text: str) -> str:
    """`text` after a middle dot, if there is any."""
    return f" · {escape(text)}" if text else ""
