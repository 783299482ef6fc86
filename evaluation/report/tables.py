"""The report's tables for papers and pull requests: Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.report.data import ReportData
from evaluation.report.markup import interval_kind, p_text, points, test_kind
from evaluation.session.results import compare_all, level_text

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "−": "$-$",
    "±": r"$\pm$",
    "<": "$<$",
    ">": "$>$",
    "·": r"$\cdot$",
}


@dataclass(frozen=True)
class PlainTable:
    """A table of texts."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(data: ReportData) -> tuple[PlainTable, ...]:
    """Success, paired comparisons, methods, and simulation beside the arm, as far as there are any."""
    results = data.results
    success = tuple(
        (
            data.label(r.policy),
            f"{r.rate.successes}/{r.rate.trials}",
            f"{100 * r.rate.estimate:.1f}",
            f"{100 * r.rate.low:.1f}–{100 * r.rate.high:.1f}",
            str(r.voided),
        )
        for r in results
    )
    level = level_text(results[0].rate) if results else ""
    found = [
        PlainTable(
            f"Success, with {interval_kind(results)} {level} intervals",
            ("Policy", "Successes", "%", f"{level} interval", "Void"),
            success,
        )
    ]
    compared = tuple(
        (
            f"{data.label(c.a)} vs {data.label(c.b)}",
            str(c.pairs),
            *points(c),
            level_text(c.difference),
            p_text(c.p_value),
            p_text(c.p_corrected),
        )
        for c in compare_all(results)
    )
    if compared:
        columns = ("Pair", "Pairs", "Difference", "Interval", "Level", "p", "p (Holm)")
        found.append(PlainTable(f"Paired comparisons, {test_kind(results)}, percentage points", columns, compared))
    if data.aggregates is not None:
        methods = tuple(
            (m.method, str(m.runs), str(m.tasks), f"{100 * m.iqm.estimate:.1f}", _percent(m.iqm.low, m.iqm.high))
            for m in data.aggregates.methods
        )
        heads = ("Method", "Runs", "Tasks", "IQM", f"{level} interval")
        found.append(PlainTable("Interquartile mean of success over seeds and tasks", heads, methods))
    if data.transfer is not None:
        rows = tuple(
            (data.label(r.policy), f"{100 * r.simulated.estimate:.1f}", f"{100 * r.real.estimate:.1f}")
            for r in data.transfer.rows
        )
        a = data.transfer.agreement
        measured = f"; MMRV {a.mmrv.estimate:.3f}, Pearson {a.pearson.estimate:.3f}" if a else ""
        caption = f"Success in simulation and on the arm, per cent{measured}"
        found.append(PlainTable(caption, ("Policy", "Simulation", "Arm"), rows))
    return tuple(found)


def markdown(data: ReportData) -> str:
    """The tables as GitHub's Markdown."""
    parts = [f"# {_md(data.title)}\n\n{_md(data.setting)}\n"]
    for t in tables(data):
        lines = [f"**{_md(t.caption)}**", "", _md_row(t.columns), "|---|" + "---:|" * (len(t.columns) - 1)]
        lines += [_md_row(row) for row in t.rows]
        parts.append("\n".join(lines) + "\n")
    if data.registered:
        parts.append("\n".join(f"- {_md(k)}: {_md(v)}" for k, v in data.registered.items()) + "\n")
        deviated = data.deviations or ("None: the session was carried out as registered.",)
        parts.append("Deviations:\n\n" + "\n".join(f"- {_md(text)}" for text in deviated) + "\n")
    return "\n".join(parts)


def latex(data: ReportData) -> str:
    """The tables as LaTeX `table` environments that need `booktabs`."""
    parts = ["% \\usepackage{booktabs}"]
    for t in tables(data):
        lines = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_tex(t.caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(t.columns) - 1)}}}",
            r"\toprule",
            _tex_row(t.columns),
            r"\midrule",
            *(_tex_row(row) for row in t.rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _percent(low: float, high: float) -> str:
    return f"{100 * low:.1f}–{100 * high:.1f}"


def _md(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _md_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_md(cell) for cell in cells) + " |"


def _tex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _tex_row(cells: Sequence[str]) -> str:
    return " & ".join(_tex(cell) for cell in cells) + r" \\"
