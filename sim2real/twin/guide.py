"""The twin step by step: each call carries out what can be, and says what is known, what is not, and what is next.

    plan ─▶ record ─▶ check ─▶ fit ─▶ plan the next motion by what is still uncertain ─▶ … ─▶ policies ─▶ judged
              │
              └ by the operator, or by the virtual arm

The state is written after every step: a call that is killed loses the step that it was in.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from adaptation.identification.excitation import ExciteConfig, find_excitation
from adaptation.identification.fit import BRIEF, PRIOR_STD, QUICK
from adaptation.identification.joint_log import JointLog, LogError
from adaptation.identification.log_files import read_log
from adaptation.identification.log_inspection import inspect
from adaptation.identification.pipeline import Identification, IdentifyConfig, base_space, identify_arm
from adaptation.identification.posterior import UNKNOWN
from adaptation.identification.report import identification_page
from adaptation.twin.next_motion import find_next_motion
from adaptation.twin.posterior_file import load_posterior, save_posterior
from adaptation.twin.virtual_recording import play_on_virtual_arm, save_log
from policies.training.progress import StageProgress, stage
from robots.host.locks import FolderLock
from robots.host.reading import read_arrays
from robots.host.writing import write_json, write_text
from robots.registry import load_robot
from sim.virtual_arm.hidden_arms import hidden_reality
from sim2real.progress import Stages
from sim2real.twin.folder import JUDGE, TwinFolder
from sim2real.twin.options import TwinOptions
from sim2real.twin.page import policy_rows, twin_page
from sim2real.twin.policies import measure_policies

STAGES = ("plan", "record", "fit", "train old", "train new", "old ranges", "new ranges", "virtual arm")
JUDGE_SEED = 7919
"""Added to the seed for the motion that judges: of other frequencies and phases than those that are fitted."""


def run_twin(config: TwinOptions) -> int:
    """Carry out every step that can be; return the exit status, 0 also where the operator is next.

    Raises:
        ValueError: if the options or the folder make no sense.
        LockedError: if another process works in the folder.
    """
    config.validate()
    config.out.mkdir(parents=True, exist_ok=True)
    with FolderLock(config.out):
        guide = Guide(TwinFolder(config))
        try:
            with Stages(STAGES) as progress:
                while guide.step(progress):
                    guide.write_page()
        finally:
            guide.write_page()
        print("\n".join(guide.told()))
    return 0


class Guide:
    """Decides on the next step of a twin, and takes it."""

    def __init__(self, twin: TwinFolder):
        """Take the folder's state up."""
        self.twin, self.config = twin, twin.config
        self.robot = load_robot(self.config.robot)

    def step(self, progress: StageProgress) -> bool:
        """Take the next step; return False if none is left, or the operator's is next."""
        twin, fits = self.twin, len(self.twin.state.fits)
        for name in self.names[: fits + 2]:  # the judge, and one more than the fits have
            if name not in twin.state.plans or not twin.motion(name).is_file():
                self._plan(name, progress)
                return True
            if name not in twin.state.recordings and not self._recorded(name, progress):
                return False
        if fits < self.config.motions:
            self._fit(fits + 1, progress)
            return True
        if str(fits) not in twin.state.policies:
            twin.state.policies[str(fits)] = measure_policies(twin, progress)
            twin.save()
        return False

    @property
    def names(self) -> tuple[str, ...]:
        """The motions in the order in which they are played."""
        return (JUDGE, *(str(k + 1) for k in range(self.config.motions)))

    def _excite(self, seed: int) -> ExciteConfig:
        c = self.config
        return ExciteConfig(
            duration=c.duration,
            rate_hz=c.rate_hz,
            reach=c.reach,
            share=c.share,
            tries=c.tries,
            table=c.table,
            seed=c.seed + seed,
        )

    def _plan(self, name: str, progress: StageProgress) -> None:
        """Design one motion: the first two by their own condition, later ones by the posterior."""
        say, fits = stage(progress, "plan"), len(self.twin.state.fits)
        plan: dict[str, Any]
        if fits == 0:
            seed = JUDGE_SEED if name == JUDGE else 0
            motion = find_excitation(self.robot, replace(self._excite(seed), pause=0.6 * (name == JUDGE)), say)
            plan = {"chosen": "best conditioned", "condition": motion.condition}
        else:
            posterior = load_posterior(self.twin.posterior(fits))
            past = [self._commands_of(each) for each in self.names[1 : fits + 1]]
            design, workers = self._excite(100 * fits), self.config.workers
            found = find_next_motion(self.robot, posterior, design, past, workers, say)
            motion = found.excitation
            plan = {
                "chosen": f"predicted to narrow the posterior most, {found.kind}",
                "narrowed": found.narrowed,
                "newly_told": list(found.newly_told),
            }
        motion.save(self.twin.motion(name))
        self.twin.state.plans[name] = {**plan, "seconds": float(motion.t[-1]), "nearest": motion.nearest}
        self.twin.save()

    def _commands_of(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        arrays = read_arrays(self.twin.motion(name), "motion")
        return arrays["t"], arrays["q"]

    def _recorded(self, name: str, progress: StageProgress) -> bool:
        """Play a motion on the virtual arm where it is one; take its recording, if there is one that can be used."""
        twin = self.twin
        if self.config.virtual and twin.recording(name) is None:
            arrays = read_arrays(twin.motion(name), "motion")
            hidden = hidden_reality(self.robot, self.config.hidden)
            seed = self.config.seed + self.names.index(name)
            log = play_on_virtual_arm(self.robot, hidden, arrays["t"], arrays["q"], name, seed)
            save_log(twin.wanted_recording(name), log)
            progress("record", 1.0, name)
        path = twin.recording(name)
        if path is None:
            return False
        try:
            log = self._read(name)
        except LogError as error:
            twin.state.refused[name] = [str(error)]
            twin.save()
            return False
        found = inspect(log, self.robot)
        if found.refused:
            twin.state.refused[name] = [finding.text for finding in found.refused]
            twin.save()
            return False
        twin.state.refused.pop(name, None)
        twin.state.recordings[name] = found.lines()
        twin.save()
        return True

    def _read(self, name: str) -> JointLog:
        path = self.twin.recording(name)
        if path is None:
            raise LogError(f"the recording of motion '{name}' is gone; restore it")
        return replace(read_log(path, self.robot.joint_names).in_order(self.robot), name=name)

    def _fit(self, k: int, progress: StageProgress) -> None:
        """Fit to motions 1 to `k`, judge on the one that judges, and write posterior, space and report."""
        config, twin = self.config, self.twin
        settings = IdentifyConfig(
            fit=replace(QUICK if config.quick else BRIEF, seed=config.seed),
            window=min(20.0, config.duration / 2),
            gravity_compensation=config.gravity_compensation or config.virtual,
            workers=config.workers,
            seed=config.seed,
        )
        start = load_posterior(twin.posterior(k - 1)).u if k > 1 else None
        logs = [self._read(name) for name in (JUDGE, *self.names[1 : k + 1])]
        found = identify_arm(self.robot, logs, settings, stage(progress, "fit"), judged=(JUDGE,), start=start)
        save_posterior(twin.posterior(k), found.posterior)
        write_text(twin.path / "fits" / f"{k}.html", identification_page(found))
        write_json(twin.path / "fits" / f"{k}.json", found.figures(), indent=1)
        base = base_space(config.task, self.robot, config.rest)
        found.posterior.space(base, f"twin:{self.robot.name}").to_json(twin.space)
        twin.state.fits.append(_figures(found, k))
        twin.save()

    def told(self) -> list[str]:
        """Return what is known, what is not, and what is next, as lines."""
        state = self.twin.state
        lines = [f"{self.robot.name}: {len(state.fits)} of {self.config.motions} motions fitted"]
        if state.fits:
            fit = state.fits[-1]
            lines += [
                f"judged on the motion left out: {1e3 * fit['rmse_before']:.1f} mrad before, "
                f"{1e3 * fit['rmse_after']:.1f} mrad after; the 90 % band holds {100 * fit['coverage_90']:.0f} %",
                f"known: {sum(fit['known'].values())} of {len(fit['known'])} parameters, their ranges "
                f"{100 * fit['shrunk']:.0f} % narrower (median)",
            ]
            if fit["untold"]:
                lines.append(f"not told by these recordings: {', '.join(fit['untold'])}")
        lines += policy_lines(state.policies.get(str(len(state.fits)), {}))
        lines += [f"next: {each}" for each in self.next_steps()]
        return [*lines, str(self.twin.page)]

    def next_steps(self) -> list[str]:
        """Return what the operator does next, a line each; commands begin with `sim2real`."""
        twin, state = self.twin, self.twin.state
        for name in self.names[: len(state.fits) + 2]:
            if name in state.recordings:
                continue
            wanted = twin.wanted_recording(name)
            if name in state.refused:
                again = f"the recording of motion '{name}' is refused, remove it and record again: "
                return [again + "; ".join(state.refused[name]), *self._commands(name)]
            if twin.motion(name).is_file():
                return [f"play motion '{name}' ({wanted} is missing), then call this again", *self._commands(name)]
        if len(state.fits) < self.config.motions:
            return ["call this again"]
        steps = []
        if not state.policies.get(str(len(state.fits)), {}).get("change"):
            steps.append(
                f"sim2real train --observation state --task {self.config.task} --robot {self.config.robot} "
                f"--randomise {twin.space} --tune-expert --out {twin.path / 'policies' / 'mine'}"
            )
        fit = state.fits[-1] if state.fits else {}
        if fit and not all(fit["known"].values()):
            steps.append(f"for what is not told yet, one motion more: --motions {self.config.motions + 1}")
        return steps or ["nothing; the twin is judged"]

    def _commands(self, name: str) -> list[str]:
        robot = self.config.robot
        return [
            f"sim2real safety-gate --robot {robot}",
            f"sim2real play-motion --motion {self.twin.motion(name)} --robot {robot} --record "
            f"{self.twin.wanted_recording(name)}",
        ]

    def write_page(self) -> None:
        """Write the page for what is known now."""
        write_text(self.twin.page, twin_page(self.twin, self.robot.name, self.next_steps()))


def _figures(found: Identification, k: int) -> dict[str, Any]:
    """Return the figures of a fit that the state keeps, as plain JSON types."""
    figures, posterior = found.figures(), found.posterior
    ends = posterior.quantile_interval()
    fitted = [p.distribution.kind != "constant" for p in posterior.prior.params]
    widths = {n: float(w / 0.9) for n, w, f in zip(posterior.prior.names, np.ptp(ends, axis=1), fitted) if f}
    known = {name: each for name, each in figures["known"].items() if name in widths}
    told = [1 - widths[name] for name, each in known.items() if each]
    prior = posterior.prior.at(np.full(len(fitted), 0.05)), posterior.prior.at(np.full(len(fitted), 0.95))
    units = {p.name: p.unit for p in posterior.prior.params}
    limit = UNKNOWN * PRIOR_STD
    return {
        "motions": [str(i + 1) for i in range(k)],
        "rmse_before": figures["rmse_before"],
        "rmse_after": figures["rmse_after"],
        "rmse_by_joint": figures["rmse_by_joint"],
        "coverage_90": figures["coverage_90"],
        "coverage_by_joint": figures["coverage_by_joint"],
        "known": known,
        "untold": list(found.untold),
        "shrunk": float(np.median(told)) if told else 0.0,
        "width": widths,
        "std": {name: float(s / limit) for name, s in zip(posterior.prior.names, posterior.std) if name in widths},
        "interval_90": {name: figures["interval_90"][name] for name in widths},
        "prior_90": {name: [prior[0][name], prior[1][name]] for name in widths},
        "units": {name: units[name] for name in widths},
        "left_out": figures["left_out"],
        "seconds": figures["seconds"],
        "quick": figures["quick"],
    }


def policy_lines(found: dict[str, Any]) -> list[str]:
    """Return what was measured of policies, as lines."""
    lines = [f"policy '{name}', {where}: {text}" for name, where, text in policy_rows(found)]
    if change := found.get("change"):
        lines.append(
            f"training in the new ranges changes success there by {100 * change['points']:+.0f} points "
            f"[{100 * change['low']:+.0f}, {100 * change['high']:+.0f}]"
        )
    return lines
