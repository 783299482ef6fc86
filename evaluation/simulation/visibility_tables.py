"""Success by how visible the task's objects were, and failures by cause, as tables of the report."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from evaluation.report.data import DataTable
from evaluation.session.results import policy_results
from evaluation.session.trials import Trial
from policies.scoring.failure_causes import CAUSES, EpisodeRecord, failure_shares, success_by_visibility


def visibility_tables(trials: Sequence[Trial]) -> tuple[DataTable, ...]:
    """Build the tables from trials that hold labels; none where no trial does."""
    seen, failed = list[tuple[str, ...]](), list[tuple[str, ...]]()
    for result in policy_results(trials):
        labelled = [trial for trial in result.trials if trial.observed]
        if not labelled:
            continue
        records, success = episode_records(labelled), [trial.success for trial in labelled]
        for name, classes in success_by_visibility(records, success).items():
            for each in classes:
                seen.append((result.policy, f"{name} from {each['from']:g}", *_cells(each)))
        for cause, each in failure_shares(records, success).items():
            failed.append((result.policy, cause, *_cells(each)))
    if not seen:
        return ()
    return (
        DataTable(
            "Success by visibility",
            "Visible share, and contrast to the surroundings, of the least visible landmark when the trial begins; the "
            "cameras' mean.",
            ("policy", "class", "success", "95 %", "trials"),
            tuple(seen),
        ),
        DataTable(
            "Failures by cause",
            "Share of all trials. Not seen: too small or without contrast before contact; dropped: lifted, and lost; "
            "late: at the goal for too short, or on the way; stopped: outside the policy's specification; mislocated: "
            "all else.",
            ("policy", "cause", "share", "95 %", "trials"),
            tuple(failed),
        ),
    )


def cause_figures(trials: Sequence[Trial]) -> dict[str, float | int | None]:
    """Return what `summary.json` holds of it: `failed_<policy>_<cause>`, a share of all trials."""
    figures: dict[str, float | int | None] = {}
    for result in policy_results(trials):
        labelled = [trial for trial in result.trials if trial.observed]
        shares = failure_shares(episode_records(labelled), [trial.success for trial in labelled]) if labelled else {}
        figures |= {
            f"failed_{result.policy}_{cause.replace(' ', '_')}": each["share"] for cause, each in shares.items()
        }
    return figures


def printed(table: DataTable) -> Table:
    """Return a table of the report for the console."""
    shown = Table(title=table.heading, title_justify="left")
    for column in table.columns:
        shown.add_column(column, no_wrap=True)
    for row in table.rows:
        shown.add_row(*row)
    return shown


def episode_records(trials: Sequence[Trial]) -> list[EpisodeRecord]:
    """Return what was recorded of the labels; a success has a cause that nobody reads."""
    return [
        EpisodeRecord(t.observed["visible"], t.observed["contrast"], t.cause if t.cause in CAUSES else "mislocated")
        for t in trials
    ]


def _cells(rate: dict) -> tuple[str, str, str]:
    return (
        f"{100 * rate['share']:.0f} %",
        f"{100 * rate['low']:.0f}–{100 * rate['high']:.0f} %",
        f"{rate['count']}/{rate['of']}",
    )
