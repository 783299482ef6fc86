"""From the folders of sessions to one report: HTML, Markdown and LaTeX."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from rich.console import Console

from evaluation.report.aggregates import aggregate
from evaluation.report.data import PolicyCard, ReportData
from evaluation.report.failure_analysis import analyse_failures
from evaluation.report.images import Clip
from evaluation.report.page import ReportError, page
from evaluation.report.sim_to_real import Transfer, compare_sim_to_real
from evaluation.report.tables import latex, markdown
from evaluation.report.video import load_clip
from evaluation.session.audit import audit
from evaluation.session.results import PolicyResult, policy_results, results_table, write_summary
from evaluation.session.scheduler import AT_RESET, BY_OPERATOR, INTERRUPTED, SessionProgress, TrialScheduler
from evaluation.session.session_folder import SessionFolder, open_session
from evaluation.session.store import Head
from evaluation.session.trials import Event, Trial
from policies.scoring.intervals import wilson
from robots.host.writing import write_text

CLIPS = 6
"""Videos in a report, which is one file."""
APART = 1_000_000
"""Between the indexes of two sessions in one report: trials of different sessions are no pairs."""
ROBOTS = {"sim": "in simulation", "virtual": "on the virtual arm over ROS 2", "ros": "on the arm over ROS 2"}


@dataclass(frozen=True)
class Session:
    """A session folder, read."""

    folder: SessionFolder
    trials: tuple[Trial, ...]
    events: tuple[Event, ...]
    progress: SessionProgress
    results: tuple[PolicyResult, ...]
    """One per policy, in the plan's order."""
    head: Head
    """End of the log: published, it fixes every row."""
    findings: tuple[str, ...]
    """Where the log departs from the plan in order and time, and other starts of the plan."""


def read_session(path: Path) -> Session:
    """Read a session. Raises ProtocolError or TrialError when it is none, not whole, or not that of its plan."""
    folder = open_session(path)
    with folder.store() as store:
        head, findings = store.head, audit(folder, store.rows())
        progress = TrialScheduler(folder.protocol, store).progress
        trials, events = store.trials(folder.protocol.name), store.events()
    names = [policy.name for policy in folder.protocol.policies]
    results = policy_results(trials, names, folder.protocol.inference)
    return Session(folder, trials, events, progress, results, head, findings)


def print_session(path: Path) -> None:
    """Print the progress of a session and its results so far; a blinded one shows results only when it is over."""
    session = read_session(path)
    p, plan = session.progress, session.folder.protocol
    state = "finished" if _over(session) else f"{p.left} to go"
    print(
        f"session '{plan.name}' {ROBOTS.get(session.folder.robot, session.folder.robot)}: {p.counted} of {p.planned} "
        f"trials, {p.void} void, {p.excluded} excluded, {state}"
    )
    if _over(session) or not plan.blinded:
        Console().print(results_table(session.results))
    else:
        print("blinded: results are shown when it is over")
    print(f"log: {session.head.rows} rows, head {session.head.hash}")


def write_session_report(paths: Sequence[Path], out: Path) -> Path:
    """Write the page to `out`, its tables beside it as .md and .tex, and summary.json.

    The sessions on an arm are the subject; those in simulation are set beside them. With simulated sessions
    only, they are the subject.

    Raises:
        ReportError: when no trial counts yet, or a session is given twice.
    """
    sessions = [read_session(Path(path)) for path in paths]
    hashes = Counter((s.folder.registration.sha256, s.folder.robot, str(s.folder.path.resolve())) for s in sessions)
    if max(hashes.values()) > 1:
        raise ReportError("a session is given twice; name each folder once")
    on_arm = [s for s in sessions if s.folder.robot != "sim"]
    simulated = [s for s in sessions if s.folder.robot == "sim"]
    data = _data(on_arm or simulated, simulated if on_arm else [], sessions)
    if not out.parent.is_dir():
        raise ReportError(f"report '{out}': its folder does not exist; create it first")
    write_text(out, page(data))
    write_text(out.with_suffix(".md"), markdown(data))
    write_text(out.with_suffix(".tex"), latex(data))
    write_summary(out.with_name("summary.json"), data.summary())
    return out


def _data(subject: Sequence[Session], beside: Sequence[Session], given: Sequence[Session]) -> ReportData:
    several = len(subject) > 1
    trials: list[Trial] = []
    cards, clips = [], []
    second_verdicts: dict[tuple[str, int], bool] = {}
    for number, s in enumerate(subject):
        for t in s.trials:
            trials.append(replace(t, policy=_named(s, t.policy, several), index=t.index + APART * number))
        for policy in s.folder.protocol.policies:
            name = _named(s, policy.name, several)
            cards.append(PolicyCard(name, name, policy.method, s.folder.protocol.inference))
        clips += _clips(s, several)
        for (name, index), verdict in _second_verdicts(s).items():
            second_verdicts[_named(s, name, several), index + APART * number] = verdict
    first = subject[0].folder
    plan, area = first.protocol, first.protocol.workspace
    inference = {card.name: card.inference for card in cards}
    results = policy_results(trials, list(inference), inference)
    rng = np.random.default_rng(0)
    return ReportData(
        title=f"Session {plan.name}" if not several else f"{len(subject)} sessions",
        trials=tuple(trials),
        policies=tuple(cards),
        setting=" ".join(_setting(s, several) for s in subject),
        date=first.registration.registered_at[:10],
        success_radius=plan.success_radius,
        workspace=(area.x_low, area.x_high, area.y_low, area.y_high) if not several else None,
        registered=_registered(subject),
        deviations=tuple(text for s in [*subject, *beside] for text in protocol_deviations(s, len(given) > 1)),
        failure_factors=analyse_failures(results),
        transfer=_transfer(subject, beside, several),
        aggregates=aggregate([(s.folder.protocol, s.results) for s in subject], rng),
        second_verdicts=second_verdicts,
        clips=tuple(sorted(clips, key=lambda pair: pair[0])[i][1] for i in range(min(CLIPS, len(clips)))),
        made=_made(first),
        commands=(
            *(f"sim2real session run {s.folder.protocol.name}.toml --robot {s.folder.robot}" for s in given),
            f"sim2real report {' '.join(str(s.folder.path) for s in given)}",
        ),
    )


def protocol_deviations(session: Session, several: bool = False) -> tuple[str, ...]:
    """Sentences that say where a session departed from its plan."""
    plan, found = session.folder.protocol, list(session.findings)
    where = f"{plan.name} ({session.folder.robot}): " if several else ""
    decided = [e for e in session.events if e.kind == "stopped early"]
    found += [f"Stopped early, as registered: {e.text}." for e in decided]
    if not _over(session):
        p = session.progress
        found.append(f"Not finished: {p.counted} of {p.planned} trials are done; these are figures on the way.")
    for e in session.events:
        if e.kind not in ("started", "finished", "stopped early", "second verdict"):
            found.append(f"{e.kind.capitalize()} at {e.at}{': ' if e.text else ''}{e.text}.")
    reasons = Counter(t.void_reason for t in session.trials if t.void and not t.void_reason.startswith(AT_RESET))
    found += [f"{n} void and repeated: {reason}." for reason, n in reasons.items()]
    at_reset = [t for t in session.trials if t.void and t.void_reason.startswith(AT_RESET)]
    if at_reset:
        places = ", ".join(
            f"{policy} {index}" for policy, index in dict.fromkeys((t.policy, t.index) for t in at_reset)
        )
        found.append(f"Goal reached before the policy moved, detected and not counted: {places}.")
    counted = [t for t in session.trials if not t.void]
    stopped = [t for t in counted if t.stopped]
    found += [f"Trial {t.index} of {t.policy} was ended before its time: {t.stopped}." for t in stopped]
    found += [f"Trial {t.index} of {t.policy}, judged afterwards: {t.note}." for t in counted if INTERRUPTED in t.note]
    split = [t for t in counted if None not in (t.automatic, t.operator) and t.automatic != t.operator]
    for t in split:
        words = {True: "success", False: "failure"}
        found.append(
            f"Trial {t.index} of {t.policy}: the task measured {words[bool(t.automatic)]}, the operator saw "
            f"{words[bool(t.operator)]}; the {t.verdict}’s word counts."
        )
    found += [
        f"Trial {t.index} of {t.policy}, the operator’s note: {t.operator_note}" for t in counted if t.operator_note
    ]
    scheduled = [(t.policy, t.index) for t in plan.schedule()]
    order = [scheduled.index((t.policy, t.index)) for t in counted]
    late = sum(b < a for a, b in pairwise(order))
    if late:
        found.append(f"{late} trials were counted later than their turn, after void attempts.")
    registered = {policy.name: policy.bundle for policy in plan.policies}
    wrong = sorted({t.policy for t in session.trials if t.bundle != registered.get(t.policy)})
    found += [f"Trials of {policy} were driven by another bundle than the registered one." for policy in wrong]
    return tuple(where + text for text in found)


def _over(session: Session) -> bool:
    return session.progress.left == 0 or any(e.kind == "stopped early" for e in session.events)


def _named(session: Session, policy: str, several: bool) -> str:
    if not several:
        return policy
    return f"{policy} · {session.folder.protocol.name}, {session.folder.robot}"


def _setting(session: Session, several: bool) -> str:
    plan = session.folder.protocol
    head = f"Session {plan.name}: task" if several else "Task"
    return (
        f"{head} {plan.task} {ROBOTS.get(session.folder.robot, session.folder.robot)}. Success: within "
        f"{100 * plan.success_radius:.3g} cm of the goal for {plan.hold_time:g} s, within {plan.timeout:g} s. "
        f"{len(plan.policies)} policies met the same {plan.trials} places.{plan.asked}"
    )


def _registered(subject: Sequence[Session]) -> dict[str, str]:
    shown = {}
    for s in subject:
        plan, r = s.folder.protocol, s.folder.registration
        head = f"{plan.name}: " if len(subject) > 1 else ""
        shown[f"{head}plan"] = (
            f"{len(plan.policies)} policies × {plan.trials} trials, {plan.order} order, "
            f"{'blinded' if plan.blinded else 'open'}, stop rule {plan.stop} at level {plan.alpha:g}, seed {plan.seed}"
        )
        shown[f"{head}registered"] = f"{r.registered_at}, SHA-256 {r.sha256}"
        shown[f"{head}first trial"] = next((e.at for e in s.events if e.kind == "started"), "unknown")
        for role, names in _raters(s).items():
            shown[f"{head}{role}"] = names
        p = s.progress
        shown[f"{head}log"] = f"{s.head.rows} rows, each with the hash of the former, head {s.head.hash}"
        shown[f"{head}carried out"] = f"{p.counted} of {p.planned} trials, {p.void} void, {p.excluded} excluded"
    return shown


def _second_verdicts(session: Session) -> dict[tuple[str, int], bool]:
    """The second rater's, of the trials that count."""
    schedule = session.folder.protocol.schedule()
    counted = {(t.policy, t.index, t.attempt) for t in session.trials if not t.void}
    found = {}
    for said in _said(session, "second verdict"):
        planned = schedule[said["number"] - 1]
        if (planned.policy, planned.index, said["attempt"]) in counted:
            found[planned.policy, planned.index] = bool(said["success"])
    return found


def _raters(session: Session) -> dict[str, str]:
    judged = [t for t in session.trials if t.operator is not None or t.void_reason.startswith(BY_OPERATOR)]
    operators = dict.fromkeys(t.operator_name or "no name given" for t in judged)
    second = dict.fromkeys(said["by"] or "no name given" for said in _said(session, "second verdict"))
    return {role: ", ".join(names) for role, names in (("operators", operators), ("second raters", second)) if names}


def _said(session: Session, kind: str) -> list[dict]:
    return [json.loads(e.text) for e in session.events if e.kind == kind]


def _transfer(subject: Sequence[Session], beside: Sequence[Session], several: bool) -> Transfer | None:
    simulated: dict[str, list[bool]] = {}
    for s in beside:
        for result in s.results:
            for t in result.trials:
                simulated.setdefault(t.bundle, []).append(t.success)
    confidence = min((s.folder.protocol.inference for s in subject), key=lambda i: i.alpha).confidence
    rates = {bundle: wilson(sum(outcomes), len(outcomes), confidence) for bundle, outcomes in simulated.items()}
    real = {r.trials[0].bundle: (_named(s, r.policy, several), r.rate) for s in subject for r in s.results}
    return compare_sim_to_real(rates, real, np.random.default_rng(0), confidence=confidence)


def _clips(session: Session, several: bool) -> list[tuple[tuple[bool, int], Clip]]:
    outcome = {(t.policy, t.index): t for t in session.trials if not t.void}
    clips = []
    for (policy, index), path in session.folder.videos().items():
        trial = outcome.get((policy, index))
        if trial is None:
            continue
        name, result = _named(session, policy, several), "success" if trial.success else "failure"
        distance = "" if trial.final_distance is None else f", {100 * trial.final_distance:.1f} cm from the goal"
        caption = f"{result.capitalize()} of {name}, place {index}{distance}"
        said = f"A trial that ends in {result}: the arm driven by {name}, as a camera saw it"
        clips.append(((trial.success, index), load_clip(path, caption, said)))
    return clips


def _made(folder: SessionFolder) -> dict[str, str]:
    about = folder.about
    versions = about.get("versions")
    listed = ", ".join(f"{k} {v}" for k, v in versions.items()) if isinstance(versions, dict) else ""
    shown = {
        key: str(about[key])
        for key in ("robot", "space", "hidden", "renderer", "machine", "revision")
        if about.get(key)
    }
    return {**shown, **({"versions": listed} if listed else {}), "program’s date": str(about.get("date", ""))}
