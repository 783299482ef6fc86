"""The plan of a session, registered before its first trial.

A protocol is registered once: its file holds the plan, the time, and a hash of both. A session loads it and stops
when anything in it has changed since. The object's place in each trial, its turn and the order of the policies are
derived from the plan and its seed.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from evaluation.session.results import Inference
from robots.host.reading import FileError, read_json
from robots.host.typed import build
from robots.host.writing import write_text

Order = Literal["interleaved", "randomised"]
StopRule = Literal["fixed", "sequential"]
FORMAT = 1


class ProtocolError(ValueError):
    """A plan that cannot be carried out, or one that changed after its registration."""


@dataclass(frozen=True)
class PlannedPolicy:
    """One policy under test."""

    name: str
    bundle: str
    """SHA-256 of its bundle, 64 hexadecimal digits."""
    method: str = ""
    """How it was made; policies of one method are its training seeds, and reported together as well."""


@dataclass(frozen=True)
class PlacementArea:
    """Rectangle in which the object may stand, in the base frame [m]."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float


@dataclass(frozen=True)
class PlannedTrial:
    """One entry of the schedule."""

    policy: str
    code: str
    """The policy as the operator's page shows it: its name, or nothing where the session is blinded, as even a letter
    that stays the same would soon be known by how its policy moves."""
    index: int
    """Number of the initial condition, shared by all policies."""
    seed: int
    """For everything else that is random in the trial, the same for every policy."""
    initial: Mapping[str, float]
    """`x` and `y` of the object in the base frame [m]."""
    yaw: float
    """Turn about z with which the object is placed by hand [rad]."""


@dataclass(frozen=True)
class Protocol:
    """The plan. SI units."""

    name: str
    task: str
    policies: tuple[PlannedPolicy, ...]
    trials: int
    """Per policy."""
    seed: int
    """Places, turns, order and trial seeds all follow from it."""
    workspace: PlacementArea
    success_radius: float
    """Distance to the goal that counts as reached [m]."""
    hold_time: float
    """How long the goal must be held without a break [s]."""
    timeout: float
    """A trial that has not succeeded by then has failed [s]."""
    order: Order = "randomised"
    """`randomised` shuffles the policies anew at every place; `interleaved` keeps their order."""
    blinded: bool = True
    """The operator's page shows no policy's name."""
    stop: StopRule = "fixed"
    """`fixed` runs every trial; `sequential` may stop after any complete place, by `compare_sequentially`."""
    alpha: float = 0.05
    """Level of the tests."""
    to_the_end: bool = False
    """Whether every trial lasts to its timeout and success must hold then; otherwise a trial ends with success."""
    thing: str = ""
    """What policies for several things are asked for, "red" or "red on blue"; empty for those about one thing, and in
    simulation for any."""

    def validate(self) -> None:
        """Raise ProtocolError naming the first field that cannot be carried out."""
        names = [policy.name for policy in self.policies]
        if not names or len(set(names)) < len(names) or not all(names):
            raise ProtocolError(f"policies are {names}, expected at least one, each with a name of its own")
        for policy in self.policies:
            if not re.fullmatch("[0-9a-f]{64}", policy.bundle):
                raise ProtocolError(
                    f"policies: the bundle of '{policy.name}' is '{policy.bundle}', expected its "
                    f"SHA-256 in 64 lower-case hexadecimal digits"
                )
        for entry in ("name", "task"):
            if not getattr(self, entry):
                raise ProtocolError(f"{entry} is empty; give it a name")
        if self.trials < 1:
            raise ProtocolError(f"trials is {self.trials}, expected at least 1 per policy")
        if self.seed < 0:
            raise ProtocolError(f"seed is {self.seed}, expected at least 0")
        w = self.workspace
        if not (all(math.isfinite(v) for v in asdict(w).values()) and w.x_low < w.x_high and w.y_low < w.y_high):
            raise ProtocolError(f"workspace is {w}, expected finite bounds with low < high [m]")
        for entry in ("success_radius", "timeout"):
            if not 0 < getattr(self, entry) < math.inf:
                raise ProtocolError(f"{entry} is {getattr(self, entry)}, expected a positive number")
        if not 0 <= self.hold_time < self.timeout:
            raise ProtocolError(
                f"hold_time is {self.hold_time} s, expected at least 0 and less than the timeout of {self.timeout} s"
            )
        if not 0 < self.alpha < 1:
            raise ProtocolError(f"alpha is {self.alpha}, expected a probability between 0 and 1")
        for entry, known in (("order", get_args(Order)), ("stop", get_args(StopRule))):
            if getattr(self, entry) not in known:
                raise ProtocolError(f"{entry} is '{getattr(self, entry)}', expected one of {known}")
        if self.stop == "sequential" and len(self.policies) != 2:
            raise ProtocolError(
                f"stop is 'sequential' with {len(self.policies)} policies, expected two; use 'fixed' for more"
            )

    @property
    def asked(self) -> str:
        """What the policies are asked for, as the end of a paragraph; empty where there is nothing to choose."""
        return f" Asked for: {self.thing}." if self.thing else ""

    @property
    def inference(self) -> Inference:
        """What the plan fixes of the statistics."""
        return Inference(self.alpha, self.stop == "sequential")

    def initial_conditions(self) -> tuple[dict[str, float], ...]:
        """Where the object stands in each trial: stratified over the workspace, in random order.

        The rectangle is cut into `trials` cells of equal area with one place drawn uniformly in each, so the
        places are as representative as independent ones and leave no gap. The order is shuffled: a session
        that ends early has not tried one side only.
        """
        rng = self._rng(0)
        w, n = self.workspace, self.trials
        width, depth = w.y_high - w.y_low, w.x_high - w.x_low
        rows = min(n, max(1, round(math.sqrt(n * depth / width))))
        # Row r takes n // rows cells or one more; its depth is its share of them, so that areas stay equal.
        counts = np.diff(np.round(np.linspace(0, n, rows + 1)).astype(int))
        edges = w.x_low + depth * np.concatenate([[0], np.cumsum(counts)]) / n
        places = [
            (
                edges[r] + rng.random() * (edges[r + 1] - edges[r]),
                w.y_low + width * (c + rng.random()) / count,
            )
            for r, count in enumerate(counts)
            for c in range(count)
        ]
        return tuple({"x": float(x), "y": float(y)} for x, y in (places[i] for i in rng.permutation(n)))

    def schedule(self) -> tuple[PlannedTrial, ...]:
        """Every trial in order: place after place, all policies at each, so that drift affects all alike."""
        rng = self._rng(2)
        turns = self._rng(4).uniform(-np.pi, np.pi, self.trials)
        seeds = np.random.SeedSequence([self.seed, 3]).generate_state(self.trials)
        planned = []
        for index, initial in enumerate(self.initial_conditions()):
            turn = np.arange(len(self.policies))
            if self.order == "randomised":
                turn = rng.permutation(turn)
            for i in turn:
                name = self.policies[i].name
                code = "" if self.blinded else name
                yaw = float(turns[index])
                planned.append(PlannedTrial(name, code, index, int(seeds[index]), dict(initial), yaw))
        return tuple(planned)

    def _rng(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, purpose])


@dataclass(frozen=True)
class Registration:
    """A protocol, when it was registered, and the hash of both."""

    protocol: Protocol
    registered_at: str
    """UTC, ISO 8601."""
    sha256: str
    """Of the canonical JSON of the plan and the time; a session stores it with its trials."""
    path: Path | None = field(default=None, compare=False)
    """Its file."""

    def text(self) -> str:
        """The registration as its file holds it."""
        content = _content(self.protocol, self.registered_at)
        document = {**content, "fields": _field_hashes(content), "sha256": self.sha256}
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def register_protocol(protocol: Protocol, path: Path) -> Registration:
    """Validate the plan, stamp it and write it to `path`, which must not exist yet."""
    protocol.validate()
    path = Path(path)
    if path.exists():
        raise ProtocolError(f"protocol '{path}' exists already; a registered plan is not replaced: name another")
    if not path.parent.is_dir():
        raise ProtocolError(f"protocol '{path}': its folder does not exist; create it first")
    content = _content(protocol, datetime.now(timezone.utc).isoformat(timespec="seconds"))
    registration = Registration(protocol, str(content["registered_at"]), _hash(content), path)
    write_text(path, registration.text())
    return registration


def load(path: Path, sha256: str | None = None) -> Registration:
    """Read a registered plan. Raises ProtocolError naming every field that changed since.

    The hashes inside the file reveal an edit; pass the `sha256` that a session stored or that was published to also
    reveal hashes that were computed anew.
    """
    try:
        document = read_json(path, "protocol")
    except FileError as error:
        raise ProtocolError(f"{error}; register one first") from None
    expected = {"format", "protocol", "registered_at", "fields", "sha256"}
    if document.keys() != expected:
        raise ProtocolError(
            f"protocol '{path}' holds {sorted(document)}, expected {sorted(expected)}; register it again"
        )
    if document["format"] != FORMAT:
        raise ProtocolError(f"protocol '{path}': format {document['format']}, expected {FORMAT}")
    content = {key: document[key] for key in ("format", "protocol", "registered_at")}
    now, then = _field_hashes(content), document["fields"]
    if not isinstance(then, dict):
        raise ProtocolError(f"protocol '{path}': its `fields` are no table of hashes; register it again")
    changed = sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
    if changed:
        raise ProtocolError(
            f"protocol '{path}' was edited after its registration: {', '.join(changed)}; restore it, or "
            f"register the new plan under another name"
        )
    if _hash(content) != document["sha256"]:
        raise ProtocolError(
            f"protocol '{path}': its content has SHA-256 {_hash(content)}, but the file says "
            f"{document['sha256']}; it was edited after its registration: restore it"
        )
    if sha256 is not None and sha256 != document["sha256"]:
        raise ProtocolError(
            f"protocol '{path}' has SHA-256 {document['sha256']}, expected {sha256}: it is another plan than "
            f"the session began with; name the right file"
        )
    protocol = _protocol(document["protocol"], path)
    protocol.validate()
    return Registration(protocol, document["registered_at"], document["sha256"], Path(path))


def canonical_json(value: object) -> str:
    """The one way to write `value` as JSON: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _content(protocol: Protocol, registered_at: str) -> dict[str, object]:
    # Through JSON and back, so that what is hashed is what the file will hold.
    plan = json.loads(canonical_json(asdict(protocol)))
    return {"format": FORMAT, "protocol": plan, "registered_at": registered_at}


def _hash(value: object) -> str:
    return hashlib.sha256(canonical_json(value).encode("ascii")).hexdigest()


def _field_hashes(content: Mapping[str, object]) -> dict[str, str]:
    """A hash per field, so that an edited one can be named."""
    plan = content["protocol"]
    parts = {"registered_at": content["registered_at"]}
    if isinstance(plan, dict):
        parts |= plan
    return {name: _hash(value) for name, value in sorted(parts.items())}


def _protocol(plan: object, path: Path) -> Protocol:
    known = {f.name for f in fields(Protocol)}
    found = set(plan) if isinstance(plan, dict) else set()
    if found != known:
        raise ProtocolError(
            f"protocol '{path}': missing {sorted(known - found)}, unknown {sorted(found - known)}; "
            f"it was written by another release"
        )
    try:
        return build(Protocol, plan, f"protocol '{path}'")
    except FileError as error:
        raise ProtocolError(f"{error}; it was written by another release") from None
