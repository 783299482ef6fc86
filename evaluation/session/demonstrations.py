"""A folder of demonstrations: what an operator showed by hand, an episode each, with verdicts.

demonstrations.json  arm, task in words, cameras
trials.sqlite        starts and verdicts; append-only, as a session's
recording/           MCAP, one for each time that the folder was taken up
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from evaluation.session.session_folder import TRIALS
from evaluation.session.store import TrialStore
from evaluation.session.trial_spans import TrialSpan
from evaluation.session.trials import Trial, TrialError
from robots.host.reading import FileError, read_json
from robots.host.typed import build
from robots.host.writing import write_json
from robots.specs import SpecError

ABOUT = "demonstrations.json"
RECORDING = "recording"
SESSION, POLICY = "demonstrations", "operator"
"""How the log's rows name a demonstration, where a session's have the protocol and the policy."""
DISCARDED = "discarded by the operator"

EpisodeOutcome = Literal["success", "failure", "discarded"]


@dataclass(frozen=True)
class AboutDemonstrations:
    """What all episodes of a folder have in common."""

    robot: str
    """Name of the arm, or path of its file."""
    instruction: str
    """The task in words."""
    cameras: Mapping[str, str] = field(default_factory=dict)
    """Topic of the pictures by camera."""


@dataclass(frozen=True)
class OpenEpisode:
    """An episode that has begun and has no verdict."""

    number: int
    """From 0."""
    attempt: int
    start: float
    """When it began [s since 1970]."""


class DemonstrationLog:
    """The folder's episodes. What a method has noted survives a kill."""

    def __init__(self, folder: Path, about: AboutDemonstrations):
        """Begin in a new folder, or go on in one that has the same `about`.

        Raises:
            TrialError: if the folder holds something else, or was begun with another arm, task or cameras.
        """
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RECORDING).mkdir(exist_ok=True)
        if not (folder / ABOUT).is_file():
            if (folder / TRIALS).exists():
                raise TrialError(f"'{folder}' holds a session, no demonstrations; choose another --out")
            write_json(folder / ABOUT, asdict(about))
        known = read_about_demonstrations(folder)
        for name, value in asdict(about).items():
            if (before := getattr(known, name)) != value:
                raise TrialError(
                    f"demonstrations '{folder}': {name} is '{before}', not '{value}'; go on with that, or choose "
                    "another --out"
                )
        self._store = TrialStore(folder / TRIALS)
        self.open: OpenEpisode | None = self._interrupted()
        """The episode without a verdict; after a kill the one that it interrupted."""

    def close(self) -> None:
        """Close the log."""
        self._store.close()

    def next_recording(self) -> Path:
        """Return a folder of its own for each time that the demonstrations are taken up; it does not exist yet."""
        taken = self.folder / RECORDING
        return taken / f"run_{len(list(taken.iterdir()))}"

    def kept(self) -> tuple[Trial, ...]:
        """Return the episodes that count, in order."""
        return tuple(trial for trial in self._store.trials(SESSION) if not trial.void)

    def begin(self, now: float) -> OpenEpisode:
        """Note that an episode begins at `now` [s since 1970]."""
        assert self.open is None
        number = len(self.kept())
        attempts = [trial.attempt for trial in self._store.trials(SESSION) if trial.index == number]
        self.open = OpenEpisode(number, max(attempts, default=-1) + 1, now)
        self._store.start(SESSION, POLICY, number, self.open.attempt, at=now)
        return self.open

    def end(self, outcome: EpisodeOutcome, now: float, end: float | None = None) -> Trial:
        """Give the open episode its verdict.

        Args:
            outcome: how it ended.
            now: [s since 1970]
            end: of the episode, if not now, such as after a kill.
        """
        opened = self.open
        assert opened is not None
        end, success = max(opened.start, now if end is None else end), outcome == "success"
        trial = Trial(
            *(SESSION, POLICY, "", opened.number, 0, success),
            duration=end - opened.start,
            verdict="operator",
            operator=None if outcome == "discarded" else success,
            void=outcome == "discarded",
            void_reason=DISCARDED if outcome == "discarded" else "",
            attempt=opened.attempt,
            observed={"start": opened.start, "end": end},
        )
        self._store.add(trial)
        self.open = None
        return trial

    def take_back(self) -> Trial | None:
        """Discard the last episode that counts, and return it; None where there is none."""
        kept = self.kept()
        if not kept:
            return None
        self._store.retract(kept[-1])
        return kept[-1]

    def last_recorded(self) -> float:
        """Return when something was written to the last recording [s since 1970]; 0 where there is none."""
        files = (self.folder / RECORDING).glob("*/*.mcap")
        return max((path.stat().st_mtime for path in files), default=0.0)

    def _interrupted(self) -> OpenEpisode | None:
        judged = {(trial.index, trial.attempt) for trial in self._store.trials(SESSION)}
        found = None
        for row in self._store.rows():
            if row.kind == "started":
                number, attempt = int(str(row.content["index"])), int(str(row.content["attempt"]))
                if (number, attempt) not in judged:
                    found = OpenEpisode(number, attempt, float(str(row.content["at"])))
        return found


def has_demonstrations(folder: Path) -> bool:
    """Return whether `folder` holds demonstrations."""
    return (folder / ABOUT).is_file()


def read_about_demonstrations(folder: Path) -> AboutDemonstrations:
    """Return what the episodes of `folder` have in common.

    Raises:
        TrialError: if it cannot be read.
    """
    try:
        return build(AboutDemonstrations, read_json(folder / ABOUT, "demonstrations"), f"'{folder / ABOUT}'")
    except (FileError, SpecError) as error:
        raise TrialError(f"{error}; restore it") from None


def demonstration_spans(folder: Path) -> tuple[list[TrialSpan], bool]:
    """Return when each episode of `folder` that counts ran, and whether one was interrupted and has no verdict.

    Raises:
        TrialError: if the log cannot be read.
    """
    with closing(DemonstrationLog(folder, read_about_demonstrations(folder))) as log:
        spans = [TrialSpan(trial, trial.observed["start"], trial.observed["end"]) for trial in log.kept()]
        return spans, log.open is not None
