"""The twin's folder: what is planned, recorded and fitted, each a file that is written whole, and one file of state.

twin.json                state: options, plans, refusals, fits, policies
motions/NAME.npz         to play; NAME is judge, 1, 2, …
recordings/NAME.*        what the arm did
fits/K.npz, K.html       posterior of the fit to motions 1 to K, and its report
space.json               parameter space of the newest fit
policies/, trials/       trained policies, and their trials
twin.html                the page
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from adaptation.identification.log_files import find_logs
from robots.host.reading import FileError, read_json
from robots.host.writing import write_json
from sim2real.options import fill
from sim2real.twin.options import TwinOptions

STATE = "twin.json"
JUDGE = "judge"
"""Name of the motion that no fit has."""
FREE = ("motions", "bundle", "train", "trials", "workers", "quick")
"""Options that a later call may change."""


@dataclass
class TwinState:
    """What is known, as plain JSON types; the large things are files beside it."""

    options: dict[str, Any]
    """Of the first call, by field."""
    plans: dict[str, dict] = field(default_factory=dict)
    """By motion: how it was chosen, and what is predicted of it."""
    refused: dict[str, list[str]] = field(default_factory=dict)
    """By motion: why its recording cannot be used."""
    recordings: dict[str, list[str]] = field(default_factory=dict)
    """By motion: findings on its recording."""
    fits: list[dict] = field(default_factory=list)
    """In order: figures of the fit to motions 1 to K."""
    policies: dict[str, dict] = field(default_factory=dict)
    """By fit: success of the policies, see `sim2real.twin.policies`."""


class TwinFolder:
    """The folder of one twin."""

    def __init__(self, config: TwinOptions):
        """Open or begin the twin in `config.out`.

        Raises:
            ValueError: if it was begun with other options, or the folder holds something else.
        """
        self.path, self.config = config.out, config
        state = self.path / STATE
        if state.is_file():
            self.state = _read(state)
            begun = plain_options(config)
            other = [n for n, value in self.state.options.items() if n not in FREE and begun.get(n) != value]
            if other:
                name = other[0]
                raise ValueError(
                    f"the twin in '{self.path}' was begun with {name} {self.state.options[name]!r}, not "
                    f"{begun[name]!r}; leave that option out, or choose another --out"
                )
            self.state.options |= {name: begun[name] for name in FREE}
        elif self.path.exists() and any(each.name != ".lock" for each in self.path.iterdir()):
            raise ValueError(f"'{self.path}' exists and holds no twin; choose another --out")
        else:
            self.state = TwinState(plain_options(config))
        for name in ("motions", "recordings", "fits"):
            (self.path / name).mkdir(parents=True, exist_ok=True)
        self.save()

    def save(self) -> None:
        """Write the state."""
        write_json(self.path / STATE, asdict(self.state), indent=1)

    def motion(self, name: str) -> Path:
        """Return the file of a motion."""
        return self.path / "motions" / f"{name}.npz"

    def recording(self, name: str) -> Path | None:
        """Return the recording of a motion, of any kind that is read; None if there is none."""
        folder = self.path / "recordings"
        found = find_logs(folder) if any(folder.iterdir()) else []
        return next((path for path in found if path.stem == name), None)

    def wanted_recording(self, name: str) -> Path:
        """Return where the recording of a motion is expected."""
        return self.path / "recordings" / f"{name}.npz"

    def posterior(self, k: int) -> Path:
        """Return the file of the posterior of fit `k`."""
        return self.path / "fits" / f"{k}.npz"

    @property
    def space(self) -> Path:
        """Of the newest fit."""
        return self.path / "space.json"

    @property
    def page(self) -> Path:
        """For a browser."""
        return self.path / "twin.html"


def stored_options(out: Path) -> TwinOptions:
    """Return the options with which the twin in `out` was begun; the defaults, with `out`, if there is none."""
    path = out / STATE
    if not path.is_file():
        return TwinOptions(out=out)
    return replace(fill(TwinOptions(), _read(path).options, str(path)), out=out)


def plain_options(config: TwinOptions) -> dict[str, Any]:
    """Return the options as plain JSON types, without the folder: that may be moved."""
    found = {name: str(v) if isinstance(v, Path) else v for name, v in asdict(config).items()}
    del found["out"]
    return found


def _read(path: Path) -> TwinState:
    data = read_json(path, "twin")
    hints = {f.name: f for f in fields(TwinState)}
    if not isinstance(data, dict) or set(data) - set(hints) or "options" not in data:
        raise FileError(f"twin '{path}': expected an object of {', '.join(hints)}; restore it, or choose another --out")
    for name, value in data.items():
        kind = list if name == "fits" else dict
        if not isinstance(value, kind):
            raise FileError(f"twin '{path}': {name} is a {type(value).__name__}, expected a {kind.__name__}")
    return TwinState(**data)
