"""The folder of a session: its plan, trials, events and videos.

protocol.json       the registration, as it was when the session began
session.json        on which robot, by which program
trials.sqlite       starts, trials and events; append-only, each row with the hash of the former
video_*.npz         frames of chosen trials
recording/          MCAP, where a recorder runs
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evaluation.session.ledger import add_note, ledger_path
from evaluation.session.protocol import Protocol, ProtocolError, Registration, load, register_protocol
from evaluation.session.store import TrialStore
from evaluation.session.trials import TrialError
from policies.bundle.provenance import provenance
from robots.host.reading import FileError, read_json
from robots.host.writing import write_json, write_text

REGISTRATION, ABOUT, TRIALS = "protocol.json", "session.json", "trials.sqlite"
REGISTERED_IN, IDENTITY = "registered_in", "session"
_VIDEO = re.compile(r"video_(?P<policy>.+)_(?P<index>\d+)\.npz")


@dataclass(frozen=True)
class SessionFolder:
    """One session on disk."""

    path: Path
    registration: Registration
    about: Mapping[str, object]
    """`robot`, and where the program that began it came from."""

    @property
    def protocol(self) -> Protocol:
        """The plan."""
        return self.registration.protocol

    @property
    def robot(self) -> str:
        """On what the trials ran: `sim`, `virtual` or `ros`."""
        return str(self.about["robot"])

    @property
    def registered_in(self) -> str:
        """File of the registration, beside which the ledger stands; empty for a plan that was registered here."""
        return str(self.about.get(REGISTERED_IN) or "")

    @property
    def identity(self) -> str:
        """What tells this session from others of the same plan, wherever its folder is moved."""
        return str(self.about.get(IDENTITY) or "")

    def store(self) -> TrialStore:
        """Open the trials."""
        return TrialStore(self.path / TRIALS)

    def note(self, store: TrialStore, what: str, text: str = "") -> None:
        """Log that the session has `started`, is `resumed` or `finished`, in its log and in the plan's ledger.

        Raises:
            TrialError, ProtocolError: if it cannot be written, or the ledger was edited.
        """
        store.log(what, text)
        if self.registered_in:
            ledger = ledger_path(Path(self.registered_in))
            sha256 = self.registration.sha256
            add_note(ledger, what, self.identity, self.path, self.robot, sha256, store.head)

    def videos(self) -> dict[tuple[str, int], Path]:
        """Videos by policy and index."""
        found = {}
        for path in sorted(self.path.glob("video_*.npz")):
            match = _VIDEO.fullmatch(path.name)
            if match:
                found[match["policy"], int(match["index"])] = path
        return found


def begin_session(
    path: Path, plan: Protocol | Registration, robot: str, details: Mapping[str, object] | None = None
) -> SessionFolder:
    """Create the folder of a session, or open that of one that was broken off.

    A plan that was not registered before is registered here, before the first trial.

    Raises:
        ProtocolError: if the folder holds a session of another plan or another robot.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    kept = path / REGISTRATION
    if not kept.is_file():
        if (path / TRIALS).is_file():
            raise ProtocolError(f"session '{path}' has trials but no {REGISTRATION}; choose another folder")
        if isinstance(plan, Protocol):
            register_protocol(plan, kept)
        else:
            _copy(plan, kept)
    registration = load(kept, plan.sha256 if isinstance(plan, Registration) else None)
    if isinstance(plan, Protocol) and registration.protocol != plan:
        raise ProtocolError(
            f"session '{path}' began with another plan, '{registration.protocol.name}'; choose another folder"
        )
    about_path = path / ABOUT
    if not about_path.is_file():
        registered_in = str(plan.path.resolve()) if isinstance(plan, Registration) and plan.path else ""
        about = {"robot": robot, **(details or {}), REGISTERED_IN: registered_in, IDENTITY: secrets.token_hex(8)}
        about |= provenance()
        write_json(about_path, about)
    about = _read_about(about_path)
    for key, value in {"robot": robot, **(details or {})}.items():
        if about.get(key) != value:
            raise ProtocolError(
                f"session '{path}' began with {key} '{about.get(key)}', not '{value}'; "
                f"go on with that, or choose another folder"
            )
    return SessionFolder(path, registration, about)


def open_session(path: Path) -> SessionFolder:
    """Open a session to read it. Raises ProtocolError or TrialError when it is none."""
    path = Path(path)
    for name in (REGISTRATION, ABOUT, TRIALS):
        if not (path / name).is_file():
            raise TrialError(f"session '{path}': {name} is missing; name a folder that 'sim2real session run' wrote")
    return SessionFolder(path, load(path / REGISTRATION), _read_about(path / ABOUT))


def _copy(registration: Registration, path: Path) -> None:
    write_text(path, registration.text())


def _read_about(path: Path) -> dict[str, object]:
    try:
        about = read_json(path, "session")
    except FileError as error:
        raise ProtocolError(f"{error}; restore it") from None
    if "robot" not in about:
        raise ProtocolError(f"'{path}' does not say on which robot the session ran; restore it")
    return about
