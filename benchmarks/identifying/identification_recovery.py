"""Arms drawn from the prior, logged by our simulator and by MuJoCo: does the truth lie in the 90 % interval?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from adaptation.identification.excitation import ExciteConfig, find_excitation
from adaptation.identification.fit import BRIEF, PRIOR_STD, QUICK, Fit, FitConfig, fit_servo
from adaptation.identification.pipeline import spread
from adaptation.identification.posterior import LEVEL, UNKNOWN, Posterior, posterior, shortest_interval, term_of
from adaptation.identification.replay import Replay, replay_windows
from adaptation.identification.uniform_log import UniformLog
from robots.dynamics import ArmDynamics
from robots.model import RobotModel
from robots.registry import load_robot
from robots.urdf import add_child, parse, to_text, without_geometry
from sim.physics.servo_model import ServoArm
from sim.randomization.parameters import CONSTANT, ParameterSpace
from sim.randomization.servo_parameters import prior

ABSENT_IN_MUJOCO = ("stribeck", "dead_band", "backlash", "torque_limit")
"""Terms that MuJoCo's joints and position servos do not have: 0 there (the limit: not reached), and not fitted."""
SIMULATOR_SEEDS, MUJOCO_SEEDS = range(20), range(1000, 1020)
CALIBRATION_SEEDS = (*range(5000, 5010), *range(5500, 5510))
"""Other arms, the second half of them logged by MuJoCo, that set the widening factors."""
NOISE = 0.0005  # rad, of the encoders in logs that we make
PERIOD = 0.01


def simulator_log(robot: RobotModel, truth: dict, command: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What the compiled arm does, at a shorter step than the fit uses."""
    arm = ServoArm.from_parameters(ArmDynamics.from_robot(robot), truth)
    return arm.rollout(command[0], np.zeros(len(command[0])), command, len(command), PERIOD, longest_step=0.001)


def mujoco_log(robot: RobotModel, truth: dict, command: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What MuJoCo makes of the same parameters: its own integrator, joint friction and position servos."""
    import mujoco

    root = parse(without_geometry(robot.urdf_xml))
    add_child(add_child(root, "mujoco"), "compiler", fusestatic="false")
    spec = mujoco.MjSpec.from_string(to_text(root))
    spec.compiler.balanceinertia = True  # the URDF's link 2 has an inertia that no body has, and MuJoCo refuses it
    spec.option.timestep = 0.0005
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    x, y = truth["base_tilt_x"], truth["base_tilt_y"]
    spec.option.gravity = 9.81 * np.array([np.sin(x), np.sin(y), -np.cos(x) * np.cos(y)])
    lead = truth["servo_lead"]
    for body in spec.bodies:
        body.mass *= truth["arm_mass_scale"]
        body.inertia = np.array(body.inertia) * truth["arm_mass_scale"]
        body.fullinertia = np.array(body.fullinertia) * truth["arm_mass_scale"]
        if body.name == robot.ee_link and truth["payload_mass"] > 0:
            load = body.add_body(name="payload", mass=truth["payload_mass"], inertia=[1e-9] * 3)
            load.explicitinertial = True
    for name in robot.joint_names:
        get = {term: truth[f"servo_{term}_{name}"] for term in ("kp", "damping", "coulomb", "armature")}
        joint = spec.joint(name)
        joint.damping = [get["damping"], 0, 0] if np.ndim(joint.damping) else get["damping"]
        joint.frictionloss, joint.armature = get["coulomb"], get["armature"]
        joint.limited = False
        joint.actfrclimited = False
        actuator = spec.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        actuator.set_to_position(kp=get["kp"])
    model = spec.compile()
    data = mujoco.MjData(model)
    n = len(robot.joint_names)
    order = [model.joint(name).qposadr[0] for name in robot.joint_names]
    kp = np.array([truth[f"servo_kp_{name}"] for name in robot.joint_names])
    damping = np.array([truth[f"servo_damping_{name}"] for name in robot.joint_names])
    offset = np.array([truth[f"servo_offset_{name}"] for name in robot.joint_names])
    data.qpos[order] = command[0]
    steps = round(PERIOD / model.opt.timestep)
    out = np.empty((len(command), n))
    for i in range(len(command)):
        out[i] = data.qpos[order]
        for k in range(steps):
            at = (i * steps + k) * model.opt.timestep - truth["servo_delay"]
            now = min(max(int(at // PERIOD), 0), len(command) - 1)
            speed = (command[now] - command[max(now - 1, 0)]) / PERIOD
            data.ctrl[:] = command[now] + offset + lead * damping * speed / kp
            mujoco.mj_step(model, data)
    return out


def draw_arm(robot: RobotModel, seed: int, in_mujoco: bool) -> tuple[ParameterSpace, dict, np.random.Generator]:
    """A truth from the prior, and the prior that the fit may know."""
    space, rng = prior(robot), np.random.default_rng(seed)
    if in_mujoco:
        fixed = [p for p in space.params if term_of(p.name) in ABSENT_IN_MUJOCO]
        space = space.with_params(
            *(
                replace(
                    p, distribution=CONSTANT, operator="=", nominal=100 * p.nominal if "limit" in p.name else p.nominal
                )
                for p in fixed
            )
        )
    return space, space.sample(rng), rng


def recover(
    robot: RobotModel,
    command: np.ndarray,
    seed: int,
    in_mujoco: bool,
    config: FitConfig,
    widening: Mapping[str, float] | None = None,
    keep: Path | None = None,
) -> tuple[Posterior, Fit, dict, np.ndarray]:
    """Log one arm, fit it, and return its posterior and where the truth lies, in the unit cube.

    A fit takes a minute: `keep` is a folder where it is looked for first, and left.
    """
    space, truth, rng = draw_arm(robot, seed, in_mujoco)
    make = mujoco_log if in_mujoco else simulator_log
    q = make(robot, truth, command, rng) + NOISE * rng.standard_normal(command.shape)
    log = UniformLog(f"arm {seed}", PERIOD, command, q, ((0, len(q)),), np.ones(q.shape[1], bool))
    replay = Replay(robot, spread(replay_windows([log], 8.0), 2))
    path = None if keep is None else keep / f"arm_{seed}.npz"
    if path is not None and path.is_file():
        found = _read(path)
    else:
        found = fit_servo(replay, space, replace(config, seed=seed))
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, **{name: np.asarray(getattr(found, name)) for name in Fit.__dataclass_fields__})
    best = space.at(found.u)
    speeds = tuple(
        np.gradient(replay.positions(best, i), PERIOD, axis=0)[-len(e) :] for i, e in enumerate(found.errors)
    )
    result = posterior(found, space, np.ones(q.shape[1], bool), speeds, widening)
    true_u = np.array([_quantile(space, name, truth[name]) for name in space.names])
    return result, found, truth, true_u


def _read(path: Path) -> Fit:
    with np.load(path, allow_pickle=False) as arrays:
        values = {name: arrays[name] for name in Fit.__dataclass_fields__}
    for name in ("jacobian", "coarse", "errors"):
        values[name] = tuple(values[name])
    for name, kind in (("candidates", int), ("simulator_steps", int), ("seconds", float), ("quick", bool)):
        values[name] = kind(values[name])
    return Fit(**values)


def _quantile(space: ParameterSpace, name: str, value: float) -> float:
    """The u at which the space gives `value`, by bisection; distributions are monotone."""
    param = space[name]
    if param.distribution.kind == "constant":
        return 0.5
    single = ParameterSpace((param,))
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = 0.5 * (low + high)
        if single.at(np.array([middle]))[name] < value:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def recovery_motion(robot: RobotModel, quick: bool) -> np.ndarray:
    return find_excitation(
        robot, ExciteConfig(duration=48.0, tries=4 if quick else 20, table=False, rate_hz=1 / PERIOD)
    ).q


def recovery(quick: bool, calibrate: bool, arms: int, keep: Path | None = None) -> dict:
    """Fit the arms and return the figures; with `calibrate` other arms, and the widening factors."""
    robot = load_robot("xarm6")
    command = recovery_motion(robot, quick)
    config = QUICK if quick else BRIEF
    if calibrate:
        return {"widening": calibration(robot, command, config, arms, keep)}
    rows, narrowed, per_engine, steps, seconds = [], [], {}, 0, 0.0
    for in_mujoco, seeds in ((False, SIMULATOR_SEEDS), (True, MUJOCO_SEEDS)):
        inside = []
        for seed in list(seeds)[:arms]:
            result, found, truth, _ = recover(robot, command, seed, in_mujoco, config, keep=keep)
            interval = result.interval()
            names = [name for name, free in zip(result.prior.names, found.free) if free]
            hit = {name: interval[name][0] <= truth[name] <= interval[name][1] for name in names}
            inside.append(hit)
            narrowed.append(np.mean([result.known[name] for name in names]))
            rows.append((hit, result.known))
            steps, seconds = steps + found.simulator_steps, seconds + found.seconds
            print(
                f"  arm {seed}: {found.seconds:.0f} s, {1e3 * found.sigma.mean():.2f} mrad, "
                f"{np.mean(list(hit.values())):.2f}, {narrowed[-1]:.2f} narrowed",
                flush=True,
            )
        engine = "MuJoCo" if in_mujoco else "our simulator"
        rate, spread_of = _mean_over_arms(inside)
        per_engine[engine] = rate
        print(
            f"recovery, logs by {engine}: truth in the 90 % interval {100 * rate:.1f} ± {100 * spread_of:.1f} % of the "
            f"time, over {len(inside)} arms"
        )
    rate, spread_of = _mean_over_arms([hit for hit, _ in rows])
    by_term = _by_term(rows)
    for term, (share, half, count, narrowed_share) in by_term.items():
        print(
            f"  {term:16} {100 * share:5.1f} ± {100 * half:4.1f} % of {count}; narrowed {100 * narrowed_share:3.0f} %"
        )
    told, told_spread = _mean_over_arms([{n: hit[n] for n in hit if known[n]} for hit, known in rows])
    print(
        f"recovery{', quick' if quick else ''}: {100 * rate:.1f} ± {100 * spread_of:.1f} % over {len(rows)} arms (arms "
        f"are the unit); of the "
        f"{100 * np.mean(narrowed):.0f} % of the parameters that were narrowed {100 * told:.1f} ± "
        f"{100 * told_spread:.1f} %; target 85 to 95 %; {steps / seconds:.0f} simulator steps/s"
    )
    return {
        "recovery_rate": rate,
        "recovery_rate_95": [rate - spread_of, rate + spread_of],
        "recovery_rate_by_engine": per_engine,
        "recovery_rate_by_term": {term: share for term, (share, *_) in by_term.items()},
        "recovery_quick": quick,
        "recovery_rate_narrowed_only": told,
        "recovery_narrowed": float(np.mean(narrowed)),
        "recovery_arms": len(rows),
    }


def _by_term(rows: Sequence[tuple[Mapping[str, bool], Mapping[str, bool]]]) -> dict[str, tuple]:
    """Share of truths inside by term, half its 95 % interval over arms, number of parameters, and share narrowed."""
    found = {}
    for term in dict.fromkeys(term_of(name) for hit, _ in rows for name in hit):
        hits = [{name: inside for name, inside in hit.items() if term_of(name) == term} for hit, _ in rows]
        hits = [each for each in hits if each]
        known = [known[name] for hit, known in rows for name in hit if term_of(name) == term]
        found[term] = (*_mean_over_arms(hits), len(known), float(np.mean(known)))
    return found


def _mean_over_arms(hits: Sequence[Mapping[str, bool]]) -> tuple[float, float]:
    """Mean of the arms' shares, and half its 95 % interval."""
    shares = [np.mean(list(hit.values())) for hit in hits]
    return float(np.mean(shares)), float(1.96 * np.std(shares) / np.sqrt(len(shares)))


def calibration(
    robot: RobotModel, command: np.ndarray, config: FitConfig, arms: int, keep: Path | None = None
) -> dict[str, float]:
    """Factors on the standard deviation with which 90 % of the truths lie inside, by term (conformal scores)."""
    scores: dict[str, list[float]] = {}
    half = len(CALIBRATION_SEEDS) // 2
    for seed in (*CALIBRATION_SEEDS[:half][:arms], *CALIBRATION_SEEDS[half:][:arms]):
        in_mujoco = seed in CALIBRATION_SEEDS[half:]
        result, found, _, true_u = recover(
            robot, command, seed, in_mujoco, config, dict.fromkeys(map(term_of, prior(robot).names), 1.0), keep
        )
        for i, name in enumerate(result.prior.names):
            if found.free[i] and result.std[i] < UNKNOWN * PRIOR_STD:
                scores.setdefault(term_of(name), []).append(needed(result.u[i], result.std[i], true_u[i]))
        print(f"  arm {seed}: fit {found.seconds:.0f} s, error {1e3 * found.sigma.mean():.2f} mrad", flush=True)
    factors = {}
    for term, values in scores.items():
        rank = min(int(np.ceil(LEVEL * (len(values) + 1))), len(values))  # the conformal quantile
        factors[term] = round(max(1.0, float(np.sort(values)[rank - 1])), 2)
        print(f"  {term:16} {factors[term]:6.2f}  ({len(values)} values)")
    return factors


def needed(best: float, std: float, truth: float) -> float:
    """The smallest factor on `std` with which the 90 % interval around `best` reaches `truth`, in the unit cube."""
    low, high = 0.0, 1e4
    for _ in range(60):
        middle = 0.5 * (low + high)
        ends = shortest_interval(np.array([best]), np.array([middle * std]), LEVEL)[0]
        low, high = (low, middle) if ends[0] <= truth <= ends[1] else (middle, high)
    return high
