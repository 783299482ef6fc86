"""The protocol file of a session, in TOML, and its registration beside it.

    name = "tuesday"
    task = "reach"
    trials = 30

    [[policies]]
    name = "baseline"
    bundle = "runs/baseline/bundle"

`register_file` validates it, hashes it together with its bundles and the time, and writes
`<name>.registered.json`; `open_registered` refuses to go on when anything in it has changed since.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from evaluation.session.protocol import (
    PlacementArea,
    PlannedPolicy,
    Protocol,
    ProtocolError,
    Registration,
    load,
    register_protocol,
)
from policies.bundle import BundleError, PolicyBundle
from policies.bundle.things import check_asked
from robots.host.reading import FileError, read_toml
from robots.specs import SpecError
from sim.tasks import load_task

_PLAIN: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "task": str,
    "trials": int,
    "seed": int,
    "success_radius": (int, float),
    "hold_time": (int, float),
    "timeout": (int, float),
    "order": str,
    "blinded": bool,
    "stop": str,
    "alpha": (int, float),
    "thing": str,
}
_REQUIRED = ("name", "task", "trials", "policies")
_WORKSPACE = tuple(field.name for field in fields(PlacementArea))


@dataclass(frozen=True)
class ProtocolFile:
    """A plan with the places of its bundles."""

    path: Path
    protocol: Protocol
    bundles: Mapping[str, Path]
    """By the policy's name."""

    @property
    def registration(self) -> Path:
        """Where its registration stands."""
        return self.path.with_name(f"{self.path.stem}.registered.json")


def read_protocol_file(path: Path) -> ProtocolFile:
    """Read, fill in what follows from the task, hash the bundles and validate.

    Raises:
        ProtocolError: for a file that cannot be read or a plan that cannot be carried out; names the entry.
        BundleError: for a bundle that cannot be loaded.
    """
    path = Path(path)
    try:
        document = read_toml(path, "protocol")
    except FileError as error:
        raise ProtocolError(f"{error}; write one first") from None
    where = f"protocol '{path}'"
    known = {*_PLAIN, "policies", "workspace"}
    unknown = sorted(document.keys() - known)
    if unknown:
        raise ProtocolError(f"{where}: unknown entry '{unknown[0]}'; known are {', '.join(sorted(known))}")
    missing = [name for name in _REQUIRED if name not in document]
    if missing:
        raise ProtocolError(f"{where}: '{missing[0]}' is missing; required are {', '.join(_REQUIRED)}")
    for name, kinds in _PLAIN.items():
        value = document.get(name)
        if value is not None and (not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool)):
            kind = kinds.__name__ if isinstance(kinds, type) else "number"
            raise ProtocolError(f"{where}: {name} is {value!r}, expected {_article(kind)}")
    try:
        task = load_task(document["task"])
    except SpecError as error:
        raise ProtocolError(f"{where}: {error}") from error
    policies, bundles = _policies(document["policies"], document["task"], document.get("thing", ""), path)
    (x_low, x_high), (y_low, y_high) = task.workspace[:2]
    plain = {name: document[name] for name in _PLAIN if name in document}
    if "success_radius" not in plain and task.success_radius is None:
        raise ProtocolError(
            f"{where}: task '{task.name}' has no single distance for success; give 'success_radius' [m] for the arm"
        )
    protocol = Protocol(
        **{
            "seed": 0,
            "success_radius": task.success_radius,
            "hold_time": task.hold_time,
            "timeout": task.time_limit,
            **plain,
            "policies": policies,
            "workspace": _workspace(document.get("workspace"), PlacementArea(x_low, x_high, y_low, y_high), where),
        }
    )
    try:
        protocol.validate()
    except ProtocolError as error:
        raise ProtocolError(f"{where}: {error}") from None
    return ProtocolFile(path, protocol, bundles)


def register_file(path: Path) -> tuple[ProtocolFile, Registration]:
    """Register the plan in `path`. Raises ProtocolError if it is registered already."""
    file = read_protocol_file(path)
    return file, register_protocol(file.protocol, file.registration)


def open_registered(path: Path) -> tuple[ProtocolFile, Registration]:
    """Read the plan in `path` and its registration, which must agree.

    Raises:
        ProtocolError: where it was never registered, or changed since; names every entry that differs.
        BundleError: for a bundle that cannot be loaded.
    """
    file = read_protocol_file(path)
    if not file.registration.is_file():
        raise ProtocolError(
            f"protocol '{path}' is not registered; before the first trial: sim2real session register {path}"
        )
    registration = load(file.registration)
    for then, now in zip(registration.protocol.policies, file.protocol.policies):
        if then.name == now.name and then.bundle != now.bundle:
            raise ProtocolError(
                f"policy '{now.name}': the bundle {file.bundles[now.name]} has SHA-256 {now.bundle}, the protocol "
                f"registered {then.bundle}; use that bundle, or register a new protocol"
            )
    changed = [
        f"{field.name} (registered {_short(getattr(registration.protocol, field.name))}, "
        f"now {_short(getattr(file.protocol, field.name))})"
        for field in fields(Protocol)
        if getattr(registration.protocol, field.name) != getattr(file.protocol, field.name)
    ]
    if changed:
        raise ProtocolError(
            f"protocol '{path}' was edited after its registration of {registration.registered_at}: "
            f"{'; '.join(changed)}; restore it, or register the new plan under another name"
        )
    return replace(file, protocol=registration.protocol), registration


def _policies(given: object, task: object, thing: str, path: Path) -> tuple[tuple[PlannedPolicy, ...], dict[str, Path]]:
    where = f"protocol '{path}'"
    if not isinstance(given, list) or not given:
        raise ProtocolError(f"{where}: policies is {given!r}, expected one [[policies]] table for each")
    planned, bundles = [], {}
    for number, entry in enumerate(given, start=1):
        if not isinstance(entry, dict):
            raise ProtocolError(f"{where}: policy {number} is {entry!r}, expected a [[policies]] table")
        unknown = sorted(entry.keys() - {"name", "bundle", "method"})
        if unknown:
            raise ProtocolError(
                f"{where}: policy {number}: unknown entry '{unknown[0]}'; known are name, bundle, method"
            )
        for name in ("name", "bundle"):
            if not isinstance(entry.get(name), str) or not entry[name]:
                raise ProtocolError(f"{where}: policy {number}: {name} is {entry.get(name)!r}, expected a text")
        if not isinstance(entry.get("method", ""), str):
            raise ProtocolError(f"{where}: policy {number}: method is {entry['method']!r}, expected a text")
        bundle_path = path.parent / entry["bundle"]
        try:
            bundle = PolicyBundle.load(bundle_path)
        except BundleError as error:
            raise BundleError(f"{where}: policy '{entry['name']}': {error}") from error
        if thing:
            try:
                check_asked(entry["name"], bundle.things, thing)
            except SpecError as error:
                raise ProtocolError(f"{where}: {error}") from None
        if bundle.task != task:
            raise ProtocolError(
                f"{where}: policy '{entry['name']}' was trained for '{bundle.task}', but the task is '{task}'"
            )
        planned.append(PlannedPolicy(entry["name"], bundle.hash, entry.get("method", "")))
        bundles[entry["name"]] = bundle_path
    return tuple(planned), bundles


def _workspace(given: object, default: PlacementArea, where: str) -> PlacementArea:
    if given is None:
        return default
    if not isinstance(given, dict) or given.keys() != set(_WORKSPACE):
        raise ProtocolError(f"{where}: [workspace] is {given!r}, expected {', '.join(_WORKSPACE)} [m]")
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ProtocolError(f"{where}: [workspace] {name} is {value!r}, expected a number [m]")
    return PlacementArea(**{name: float(value) for name, value in given.items()})


def _article(kind: str) -> str:
    return {"str": "a text", "int": "a whole number", "bool": "true or false"}.get(kind, "a number")


def _short(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(policy.name for policy in value)
    return repr(value) if isinstance(value, str) else str(value)
