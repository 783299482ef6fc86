"""Train from an earlier state policy, and measure what that saves against training from scratch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from policies.bundle import PolicyBundle
from policies.bundle.provenance import provenance
from policies.imitation.recipes import state_recipe
from policies.imitation.rollouts import Records
from policies.imitation.state_run import SCRATCH, Start, StateRun, StateRunConfig, train_state
from policies.models.state_network import StateNetwork, restore_state_network
from policies.models.state_policy import StatePolicy
from policies.models.surgery import SAME_NAMES, Surgery, action_gain, operate
from policies.models.transfer_modes import MODES, find_mode, restrain, state_kind
from policies.scoring.batches import evaluate_in_batches
from policies.scoring.evaluator import VALIDATION_SEEDS, Evaluation
from policies.training.descent import Restraint
from policies.training.progress import StageProgress
from policies.training.run_folder import RunError, RunFolder
from policies.transfer.learning_curves import FROM_SCRATCH, Curve, compare_curves, draw_curves
from sim.tasks import load_task
from sim.tasks.recipe import StateRecipe


@dataclass(frozen=True)
class TransferConfig(StateRunConfig):
    """How a state policy is trained from an earlier one."""

    source: Path = Path()
    """Bundle to start from, of any task and arm: `--from`."""
    tune: str = "all"
    """How carried weights are trained further: features (frozen), last:N (layers), all, gradual-unfreeze, l2-sp, distil
    or shrink-perturb."""
    now: tuple[str, ...] = ()
    """What arrays of the source are called in the new task, as in `goal=object_pos`."""

    def validate(self) -> None:
        """Check everything that is cheap to check.

        Raises:
            ValueError: for an unknown mode, a source that does not fit, or what `StateRunConfig` refuses.
        """
        find_mode(self.tune)
        super().validate()
        self.start()

    def start(self, report: Callable[[Surgery], None] = lambda surgery: None) -> Start:
        """Return what the run starts from; `report` is called with the surgery."""
        return start_from(PolicyBundle.load(self.source), self, report, self.tune, names(self.now))

    @classmethod
    def from_dict(cls, data: dict) -> TransferConfig:
        """Build from the result of `to_dict`."""
        config = super().from_dict(data)
        assert isinstance(config, cls)
        return replace(config, source=Path(config.source), now=tuple(config.now))


def names(pairs: Sequence[str]) -> dict[str, str]:
    """Read `source=new` pairs.

    Raises:
        ValueError: for a pair without exactly one equals sign.
    """
    split = [pair.split("=") for pair in pairs]
    if wrong := [pair for pair, parts in zip(pairs, split) if len(parts) != 2 or not all(parts)]:
        raise ValueError(f"transfer: now is '{wrong[0]}', expected the source's name and the new one: goal=object_pos")
    return dict(split)


def start_from(
    bundle: PolicyBundle,
    config: StateRunConfig,
    report: Callable[[Surgery], None],
    tune: str = "all",
    now: Mapping[str, str] = SAME_NAMES,
) -> Start:
    """Make a run start from `bundle`.

    Args:
        bundle: of a state policy.
        config: of the new run.
        report: called with the surgery when it is done.
        tune: how the carried weights are trained further, see `find_mode`.
        now: what arrays of the source are called in the new task.

    Raises:
        ValueError: if the bundle cannot be carried to the run's task.
    """
    source = restore_state_network(bundle)
    gain = action_gain(bundle.action, load_task(config.task).action)
    same_arm = bundle.robot.name == config.robot

    def begin(network: StateNetwork, records: Records) -> Restraint:
        fresh = copy.deepcopy(network)
        surgery = operate(source, network, gain, same_arm, now)
        report(surgery)
        return restrain(tune, network, fresh, surgery, state_kind(network))

    env = config.environment().arm()
    env.close()
    trial = StateNetwork.for_specs(env.observation_spec, env.action_spec, config.recipe.hidden)
    # what cannot be carried, or not be tuned so, is refused here, before anything slow
    surgery = operate(source, trial, gain, same_arm, now)
    restrain(tune, trial, copy.deepcopy(trial), surgery, state_kind(trial))
    parent = {
        "parent": bundle.hash,
        "parent_name": bundle.name,
        "tune": tune,
        "now": dict(now),
        "surgery": surgery.to_dict(),
    }
    return Start(begin, {"transfer": parent})


def transfer_state(config: TransferConfig, progress: StageProgress, report: Callable[[Surgery], None]) -> PolicyBundle:
    """Train a state policy from an earlier one in a new folder.

    Raises:
        ValueError: if the configuration or the source makes no sense; nothing has been written then.
    """
    return train_state(config, progress, config.start(report))


def resume_transfer(path: Path, progress: StageProgress) -> PolicyBundle:
    """Go on with the transfer in `path` from its newest checkpoint, in the mode that it began with.

    Raises:
        RunError: if there is no unfinished run.
        LockedError: if another process carries it out.
    """
    config, folder = TransferConfig.resume(path)
    with folder.lock():
        return StateRun(config, folder, config.start(), progress).finish()


def evaluate_unchanged(bundle: PolicyBundle, config: StateRunConfig) -> Evaluation | None:
    """Evaluate the source unchanged in the new run's task, as a baseline; None if parts of the network would be new."""
    source = restore_state_network(bundle)
    make = config.environment()
    env = make.arm()
    env.close()
    network = StateNetwork.for_specs(env.observation_spec, env.action_spec, source.hidden)
    gain = action_gain(bundle.action, env.action_spec)
    if operate(source, network, gain, bundle.robot.name == config.robot).new:
        return None
    with config.open_workers() as workers:
        act, episodes = StatePolicy(network), config.recipe.validation_episodes
        return evaluate_in_batches(act, workers, make, episodes, VALIDATION_SEEDS)


@dataclass(frozen=True)
class CompareConfig:
    """How transfer is compared with training from scratch."""

    out: Path
    """Folder of the comparison; one that was interrupted goes on."""
    source: Path
    """Bundle to start from: `--from`."""
    task: str = "stack"
    """What to learn."""
    robot: str = "franka_panda"
    """The arm."""
    randomise: str = "full"
    """What varies."""
    modes: tuple[str, ...] = tuple(MODES)
    """Values of --tune to try, beside from scratch."""
    now: tuple[str, ...] = ()
    """What arrays of the source are called in the new task, as in `goal=object_pos`."""
    seeds: int = 3
    """Runs of each."""
    first_seed: int = 0
    """Seed of the first."""
    budgets: int = 6
    """Points of the curve: rounds, each of `recipe.round_steps` actions of every arm."""
    episodes: int = 100
    """Fresh episodes on which every point is evaluated."""
    workers: int = 2
    """Processes that simulate."""
    ray: str = ""
    """Address of a Ray cluster whose cores simulate instead; `local` starts one here."""
    device: str = "cpu"
    """Where networks learn: auto (an accelerator if there is one), cpu, cuda or mps."""
    recipe: StateRecipe = field(default_factory=lambda: state_recipe("stack", "franka_panda"))
    """How it is learned; the same for all."""

    def validate(self) -> None:
        """Raise ValueError for a field out of range, an unknown mode, or a source that does not fit."""
        for mode in self.modes:
            find_mode(mode)
        for name in ("seeds", "budgets", "episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"compare-transfer: {name} is {getattr(self, name)}, expected at least 1")
        run = self.run("check", 0)
        run.validate()
        start_from(PolicyBundle.load(self.source), run, lambda surgery: None, now=names(self.now))

    def run(self, label: str, index: int) -> StateRunConfig:
        """The configuration of one run."""
        recipe = replace(
            self.recipe,
            rounds=self.budgets,
            last_gradient_steps=self.recipe.gradient_steps,
            validation_episodes=self.episodes,
            validate_from=1,
        )
        seed = self.first_seed + index
        return StateRunConfig(
            self.out / f"{label}_{seed}",
            self.task,
            self.robot,
            randomise=self.randomise,
            seed=seed,
            workers=self.workers,
            ray=self.ray,
            device=self.device,
            recipe=recipe,
        )


def compare_state(config: CompareConfig, progress: StageProgress) -> dict:
    """Run from scratch and every mode on every seed; write `transfer.json` and `transfer.png`; return the former.

    Every run of a seed has the same first round: the expert steers it. Runs that are complete are not run again.

    Raises:
        ValueError: if the configuration makes no sense.
    """
    config.validate()
    bundle, now = PolicyBundle.load(config.source), names(config.now)
    curves = []
    methods = (FROM_SCRATCH, *config.modes)
    for position, mode in enumerate(methods):
        rows = []
        for index in range(config.seeds):
            run = config.run(mode, index)
            start = SCRATCH if mode == FROM_SCRATCH else start_from(bundle, run, lambda surgery: None, mode, now)
            _begin_or_go_on(run)
            part = position * config.seeds + index

            def report(stage: str, share: float, text: str, part: int = part, mode: str = mode, seed: int = run.seed):
                progress("runs", (part + share) / (len(methods) * config.seeds), f"{mode}, seed {seed}: {text}")

            folder = RunFolder.open(run.out)
            with folder.lock():
                rows.append(StateRun(run, folder, start, report).learn().rows)
        steps = np.array([row["env_steps"] for row in rows[0]])
        success = np.array([[row["success"] for row in each] for each in rows])
        cpu = np.array([[row["cpu_seconds"] for row in each] for each in rows])
        curves.append(Curve(mode, steps, success, cpu))
    run = config.run("check", 0)
    surgery = start_from(bundle, run, lambda surgery: None, now=now).provenance["transfer"]
    unchanged = evaluate_unchanged(bundle, run)
    report_ = {
        "source": {"name": bundle.name, "task": bundle.task, "robot": bundle.robot.name, "hash": bundle.hash},
        "task": config.task,
        "robot": config.robot,
        "randomise": config.randomise,
        "episodes": config.episodes,
        "seeds": list(range(config.first_seed, config.first_seed + config.seeds)),
        "recipe": asdict(config.recipe),
        "now": now,
        "surgery": surgery["surgery"],
        "unchanged": unchanged.to_dict() if unchanged else None,
        **compare_curves(curves),
        **provenance(),
    }
    RunFolder(config.out).write_json("transfer.json", report_)
    draw_curves(curves, report_, config.out / "transfer.png")
    progress("runs", 1.0, str(config.out / "transfer.json"))
    return report_


def _begin_or_go_on(run: StateRunConfig) -> None:
    """Make a run's folder, or make sure that the one there is of the same run."""
    if not run.out.exists():
        RunFolder.create(run.out, {"config.json": run.to_dict(), "provenance.json": provenance()})
    elif (found := RunFolder.open(run.out).read_json("config.json")) != run.to_dict():
        differs = [name for name, value in run.to_dict().items() if found.get(name) != value]
        raise RunError(
            f"'{run.out}' holds a run with another {', '.join(differs)}; choose another --out or these options"
        )
