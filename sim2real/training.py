"""Sub-commands that learn."""

from __future__ import annotations

from pathlib import Path

from sim2real.parsing import stages

LEARNED_FROM = ("state", "camera", "fixed_cameras")
"""What imitation learns from."""


def train(arguments: list[str]) -> int:
    """Train a policy in randomised simulation, by --observation from state, from a camera or from two (fixed_cameras).

    From state it imitates the task's expert, or is reinforced by --algorithm ppo, sac, td3, ddpg, tqc, crossq or
    recurrent_ppo.
    """
    resumed = value_of(arguments, "--resume")
    if resumed is not None:
        return _resume(arguments, Path(resumed))
    observation = value_of(arguments, "--observation") or "camera"
    if observation not in LEARNED_FROM and value_of(arguments, "--algorithm") in (None, "imitation"):
        raise ValueError(f"train: unknown --observation '{observation}'; known are {', '.join(LEARNED_FROM)}")
    algorithm = value_of(arguments, "--algorithm") or "imitation"
    if algorithm != "imitation":
        return _reinforced(arguments, algorithm)
    arguments = _without(arguments, "--algorithm")
    if observation == "state":
        return _from_state(arguments)
    from sim.tasks import load_task

    if load_task(value_of(arguments, "--task") or "reach").moves_object:
        return from_objects(arguments)
    import tyro

    from policies.imitation.camera_run import STUDENTS, TrainConfig
    from policies.imitation.camera_run import train as run

    # the recipe for what is seen becomes the default of each of its options
    default = TrainConfig(tyro.MISSING, observation=observation, student=STUDENTS[observation])
    config = tyro.cli(TrainConfig, prog="sim2real train", description=train.__doc__, args=arguments, default=default)
    with stages(("teacher", "renders", "student", "bundle")) as progress:
        bundle = run(config, progress)
    print(f"trained '{bundle.name}' for '{bundle.task}': {config.out / 'bundle'}  (SHA-256 {bundle.hash[:12]}…)")
    return 0


def _from_state(arguments: list[str]) -> int:
    import tyro

    from policies.imitation.recipes import state_recipe
    from policies.imitation.state_run import STAGES, StateRunConfig, train_state

    task, robot = value_of(arguments, "--task") or "reach", value_of(arguments, "--robot") or "franka_panda"
    # the table's recipe becomes the default of each of its options
    recipe = state_recipe(task, robot)
    default = StateRunConfig(tyro.MISSING, task=task, robot=robot, recipe=recipe)
    config = tyro.cli(StateRunConfig, prog="sim2real train", description=train.__doc__, args=arguments, default=default)
    with stages(STAGES) as progress:
        bundle = train_state(config, progress)
    tell(bundle, config.out)
    return 0


def _reinforced(arguments: list[str], algorithm: str) -> int:
    import tyro

    from policies.reinforcement.recipe import reinforcement_recipe
    from policies.reinforcement.run import STAGES, ReinforcementConfig, reinforce

    default = ReinforcementConfig(tyro.MISSING, algorithm=algorithm, recipe=reinforcement_recipe(algorithm))
    config = tyro.cli(
        ReinforcementConfig, prog="sim2real train", description=train.__doc__, args=arguments, default=default
    )
    with stages(STAGES) as progress:
        bundle = reinforce(config, progress)
    tell(bundle, config.out)
    return 0


def from_objects(arguments: list[str], command: str = "train") -> int:
    """Train a camera policy that handles a thing, for `command`."""
    import tyro

    from policies.imitation.object_run import (
        STAGES,
        ObjectTrainConfig,
        action_head_recipe,
        student_recipe,
        train_object,
    )

    task, robot = value_of(arguments, "--task") or "push", value_of(arguments, "--robot") or "franka_panda"
    student = student_recipe(task, value_of(arguments, "--observation") or "camera")
    recipe = action_head_recipe(task, robot)
    default = ObjectTrainConfig(tyro.MISSING, task=task, robot=robot, recipe=recipe, student=student)
    config = tyro.cli(
        ObjectTrainConfig, prog=f"sim2real {command}", description=train.__doc__, args=arguments, default=default
    )
    with stages(STAGES) as progress:
        bundle = train_object(config, progress)
    found = bundle.provenance["metrics"]["evaluation"]
    print(
        f"trained '{bundle.name}' for '{bundle.task}': {config.out / 'bundle'}  (SHA-256 {bundle.hash[:12]}…)\n"
        f"success {found['success']:.3f} [{found['low']:.3f}, {found['high']:.3f}] of {found['episodes']} fresh "
        f"episodes ({found['randomise']}), held to the end"
    )
    return 0


def _resume(arguments: list[str], path: Path) -> int:
    if len(arguments) > 2 or (len(arguments) == 2 and arguments[0] != "--resume"):
        raise ValueError("--resume takes the folder of a run and nothing else: its configuration is in config.json")
    from policies.training.run_folder import RunFolder

    if "algorithm" in RunFolder.open(path).read_json("config.json"):
        from policies.reinforcement.run import STAGES, resume_reinforcement

        with stages(STAGES) as progress:
            bundle = resume_reinforcement(path, progress)
    else:
        from policies.imitation.state_run import STAGES as ROUNDS
        from policies.imitation.state_run import resume_state

        with stages(ROUNDS) as progress:
            bundle = resume_state(path, progress)
    tell(bundle, path)
    return 0


def tell(bundle, out: Path) -> None:
    """Print what a finished run has come to."""
    metrics = bundle.provenance["metrics"]
    found = metrics["evaluation"]
    print(
        f"trained '{bundle.name}' for '{bundle.task}': {out / 'best'}  (SHA-256 {bundle.hash[:12]}…)\n"
        f"success {found['success']:.3f} [{found['low']:.3f}, {found['high']:.3f}] of {found['episodes']} fresh "
        f"episodes ({found['randomise']}), held to the end; {metrics['train_seconds']:.0f} s, "
        f"{metrics['train_cpu_seconds']:.0f} s of processor time, {metrics['env_steps']} environment steps"
    )


def value_of(arguments: list[str], option: str) -> str | None:
    """Value of `option` among `arguments`; None if it is not there."""
    for index, argument in enumerate(arguments):
        if argument == option and index + 1 < len(arguments):
            return arguments[index + 1]
        if argument.startswith(f"{option}="):
            return argument.split("=", 1)[1]
    return None


def _without(arguments: list[str], option: str) -> list[str]:
    """The arguments without `option` and its value."""
    kept, skip = [], False
    for argument in arguments:
        if not skip and argument != option and not argument.startswith(f"{option}="):
            kept.append(argument)
        skip = argument == option and not skip
    return kept
