"""How well an arm is identified from recordings: real SO-101, real Panda torques, and arms whose truth is known.

    python benchmarks/identification.py --data DATA            all parts
    python benchmarks/identification.py recovery --quick       no data needed

so101     fit on five of the ten motions (drawn by seed 2026 before anything was looked at), judged on the others
panda     inertial parameters on the first two thirds of the samples, judged on the last third
recovery  40 arms drawn from the prior, 20 logged by our simulator and 20 by MuJoCo: is the truth in the 90 % interval?
          --calibrate measures the widening factors on 20 other arms and prints them
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from adaptation.excitation import ExciteConfig, excite
from adaptation.identification import IdentifyConfig, identify, spread
from adaptation.identify import PRIOR_STD, QUICK, FitConfig, fit
from adaptation.joint_log import JointLog, UniformLog
from adaptation.log_files import find_logs, read_log
from adaptation.replay import Replay, windows
from adaptation.system_id import LEVEL, posterior, term_of
from sim.arm_dynamics import ArmDynamics
from sim.model_parameters import prior
from sim.parameters import CONSTANT, ParameterSpace
from sim.robot import RobotModel, load_robot
from sim.servo_model import ServoArm

SO101_SPLIT_SEED = 2026
SO101_TORQUE = 2.94  # N·m: Feetech STS3215 at 12 V, 30 kg·cm; the URDF says 10, which no hobby servo has
ABSENT_IN_MUJOCO = ("stribeck", "dead_band", "backlash", "torque_limit")
"""Terms that MuJoCo's joints and position servos do not have: 0 there (the limit: not reached), and not fitted."""
SIMULATOR_SEEDS, MUJOCO_SEEDS, CALIBRATION_SEEDS = range(20), range(1000, 1020), range(5000, 5010)
NOISE = 0.0005  # rad, of the encoders in logs that we make
PERIOD = 0.01
RECOVERY_FIT = FitConfig(delays=5, leads=2, screen=6, descent=4, kept=1, rounds=2, evaluations=0, iterations=8)
"""Smaller than the default, for sixty fits."""
SO101_FIT = FitConfig(delays=6, leads=2, kept=1, rounds=2, evaluations=0, iterations=16)
"""Smaller than the default, for minutes on two cores."""


def so101_robot(data: Path) -> RobotModel:
    robot = RobotModel.from_urdf(
        data / "so101" / "urdf" / "so101_new_calib.urdf",
        "gripper_frame_link",
        (0.0,) * 5,
        ddq=(50.0,) * 5,
        jerk=(1000.0,) * 5,
        name="so101",
    )
    return replace(robot, limits=replace(robot.limits, tau=(SO101_TORQUE,) * 5))


def so101(data: Path, quick: bool) -> dict:
    robot = so101_robot(data)
    logs = [read_log(path, (*robot.joint_names, "gripper")) for path in find_logs(data / "so101" / "logs")]
    config = IdentifyConfig(seed=SO101_SPLIT_SEED, fit=QUICK if quick else SO101_FIT)
    result = identify(robot, logs, config)
    figures = result.figures()
    late = delay_and_offset(robot, logs, result.trained_on, result.judged_on)
    stock = stock_pybullet(robot, logs, result.judged_on)
    print(f"so101: fit on {', '.join(result.trained_on)}; judged on {', '.join(result.judged_on)}")
    for name, value in figures["rmse_by_recording"].items():
        print(f"  {name:20} {value:.4f} rad")
    print(
        f"  mean RMSE of five joints, whole motion, open loop: {figures['rmse_after']:.4f} rad; the same motions with "
        f"delay and offset {late:.4f}, stock PyBullet position control {stock:.4f}; target 0.012"
    )
    print(f"  90 % band holds {100 * figures['coverage_90']:.1f} % of the real samples; target 80 to 97 %")
    print(
        f"  {figures['candidates']} candidates in {figures['seconds']:.0f} s, {figures['sim_steps_per_s']:.0f} steps/s"
    )
    return {
        "so101_rmse": figures["rmse_after"],
        "so101_rmse_delay_and_offset": late,
        "so101_rmse_stock_pybullet": stock,
        "so101_rmse_by_recording": figures["rmse_by_recording"],
        "so101_coverage_90": figures["coverage_90"],
        "so101_trained_on": figures["trained_on"],
        "so101_judged_on": figures["judged_on"],
        "so101_fit_seconds": figures["seconds"],
        "sim_steps_per_s": figures["sim_steps_per_s"],
    }


def delay_and_offset(robot: RobotModel, logs: list[JointLog], trained: tuple, judged: tuple) -> float:
    """RMSE of the commands, delayed and shifted per joint as fits the training motions best."""
    ordered = {log.name: log.in_order(robot) for log in logs}

    def late(log: JointLog, delay: float) -> np.ndarray:
        return np.stack([np.interp(log.t - delay, log.t_command, c) for c in log.command.T], axis=1) - log.q

    delays = np.arange(0.0, 0.25, 0.01)
    errors = {d: np.concatenate([late(ordered[name], d) for name in trained]) for d in delays}
    best = [min(delays, key=lambda d: errors[d][:, j].std()) for j in range(len(robot.joint_names))]
    offset = [errors[d][:, j].mean() for j, d in enumerate(best)]
    rmse = [
        [np.sqrt(np.mean((late(ordered[name], d)[:, j] - offset[j]) ** 2)) for j, d in enumerate(best)]
        for name in judged
    ]
    return float(np.mean(rmse))


def stock_pybullet(robot: RobotModel, logs: list[JointLog], judged: tuple) -> float:
    """RMSE of PyBullet's position control as its documentation has it, gains and forces untouched."""
    import pybullet

    client = pybullet.connect(pybullet.DIRECT)
    rmse = []
    for log in (log.in_order(robot) for log in logs if log.name in judged):
        pybullet.resetSimulation(client)
        pybullet.setGravity(0, 0, -9.81, physicsClientId=client)
        arm = pybullet.loadURDF(str(robot.urdf_path), useFixedBase=True, physicsClientId=client)
        count = pybullet.getNumJoints(arm, physicsClientId=client)
        names = [pybullet.getJointInfo(arm, i, physicsClientId=client)[1].decode() for i in range(count)]
        joints = [names.index(name) for name in robot.joint_names]
        for joint, q in zip(joints, log.q[0]):
            pybullet.resetJointState(arm, joint, q, physicsClientId=client)
        found, now = np.empty_like(log.q), log.t[0]
        for i, t in enumerate(log.t):
            while now < t:
                k = max(int(np.searchsorted(log.t_command, now, side="right")) - 1, 0)
                pybullet.setJointMotorControlArray(
                    arm,
                    joints,
                    pybullet.POSITION_CONTROL,
                    targetPositions=log.command[k].tolist(),
                    physicsClientId=client,
                )
                pybullet.stepSimulation(physicsClientId=client)
                now += 1 / 240
            found[i] = [s[0] for s in pybullet.getJointStates(arm, joints, physicsClientId=client)]
        rmse.append(np.sqrt(np.mean((found - log.q) ** 2, axis=0)))
    pybullet.disconnect(client)
    return float(np.mean(rmse))


def panda(data: Path, quick: bool) -> dict:
    from adaptation.inertial import arm_model, filtered, fit_inertial

    robot = load_robot("franka_panda")
    hand = ("panda_hand", "panda_leftfinger", "panda_rightfinger", "panda_grasptarget")
    model = arm_model(robot.urdf_xml, robot.joint_names, hand)
    with np.load(data / "panda_torque" / "excitation_first_60pct.npz") as log:
        motion = filtered(log["t"], log["q"], log["dq"], log["tau"])
    cut = 2 * len(motion.t) // 3
    found = fit_inertial(model, motion[slice(0, cut, 20 if quick else 5)])
    last = motion[slice(cut, None)]
    rmse = np.sqrt(np.mean((found.torque(model, last) - last.tau) ** 2, axis=0))
    print(f"panda: torque RMSE on the last third [N·m]: {' '.join(f'{v:.3f}' for v in rmse)}")
    print("  target (model published with the data)     : 0.260 0.590 0.250 0.290 0.130 0.090 0.060")
    print(f"  masses [kg]: {' '.join(f'{m:.2f}' for m in found.masses())}")
    return {"panda_tau_rmse": rmse.tolist()}


def simulator_log(robot: RobotModel, truth: dict, command: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What the compiled arm does, at a shorter step than the fit uses."""
    arm = ServoArm.from_parameters(ArmDynamics.from_robot(robot), truth)
    return arm.rollout(command[0], np.zeros(len(command[0])), command, len(command), PERIOD, longest_step=0.001)


def mujoco_log(robot: RobotModel, truth: dict, command: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What MuJoCo makes of the same parameters: its own integrator, joint friction and position servos."""
    import mujoco

    root = ElementTree.fromstring(robot.urdf_xml)
    for link in root.findall("link"):
        for kind in ("visual", "collision"):
            for element in link.findall(kind):
                link.remove(element)
    compiler = ElementTree.SubElement(ElementTree.SubElement(root, "mujoco"), "compiler")
    compiler.set("fusestatic", "false")
    spec = mujoco.MjSpec.from_string(ElementTree.tostring(root, encoding="unicode"))
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


def recover(robot: RobotModel, command: np.ndarray, seed: int, in_mujoco: bool, config: FitConfig, widening=None):
    """Log one arm, fit it, and return its posterior and where the truth lies, in the unit cube."""
    space, truth, rng = draw_arm(robot, seed, in_mujoco)
    make = mujoco_log if in_mujoco else simulator_log
    q = make(robot, truth, command, rng) + NOISE * rng.standard_normal(command.shape)
    log = UniformLog(f"arm {seed}", PERIOD, command, q, ((0, len(q)),), np.ones(q.shape[1], bool))
    chosen = spread(windows([log], 8.0), 4)
    replay = Replay(robot, chosen)
    found = fit(replay, space, replace(config, seed=seed))
    best = space.at(found.u)
    speeds = tuple(
        np.gradient(replay.positions(best, i), PERIOD, axis=0)[-len(e) :] for i, e in enumerate(found.errors)
    )
    result = posterior(found, space, np.ones(q.shape[1], bool), speeds, widening)
    true_u = np.array([_quantile(space, name, truth[name]) for name in space.names])
    return result, found, truth, true_u


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
    return excite(robot, ExciteConfig(duration=48.0, tries=4 if quick else 20, table=False, rate_hz=1 / PERIOD)).q


def recovery(quick: bool, calibrate: bool, arms: int) -> dict:
    robot = load_robot("xarm6")
    command = recovery_motion(robot, quick)
    config = QUICK if quick else RECOVERY_FIT
    if calibrate:
        return {"widening": calibration(robot, command, config, arms)}
    rows, narrowed = [], []
    for in_mujoco, seeds in ((False, SIMULATOR_SEEDS), (True, MUJOCO_SEEDS)):
        inside, known = [], []
        for seed in list(seeds)[:arms]:
            result, found, truth, _ = recover(robot, command, seed, in_mujoco, config)
            interval = result.interval()
            names = [name for name, free in zip(result.prior.names, found.free) if free]
            hit = {name: interval[name][0] <= truth[name] <= interval[name][1] for name in names}
            inside.append(hit)
            share = np.mean(list(hit.values()))
            print(f"  arm {seed}: {found.seconds:.0f} s, {1e3 * found.sigma.mean():.2f} mrad, {share:.2f}", flush=True)
            known.append([result.known[name] for name in names])
            rows.append((hit, result.known))
        rate = np.mean([list(h.values()) for h in inside])
        narrowed.append(np.mean(known))
        engine = "MuJoCo" if in_mujoco else "our simulator"
        print(
            f"recovery, logs by {engine}: truth in the 90 % interval {100 * rate:.1f} % of the time, over "
            f"{len(inside)} arms; {100 * np.mean(known):.0f} % of the parameters were narrowed"
        )
    every = [value for hit, _ in rows for value in hit.values()]
    told = [hit[name] for hit, known in rows for name in hit if known[name]]
    per_arm = [np.mean(list(hit.values())) for hit, _ in rows]
    spread_of = 1.96 * np.std(per_arm) / np.sqrt(len(per_arm))
    rate = float(np.mean(every))
    print(
        f"recovery: {100 * rate:.1f} ± {100 * spread_of:.1f} % over {len(rows)} arms (arms are the unit); "
        f"of the parameters that were narrowed {100 * np.mean(told):.1f} %; target 85 %"
    )
    return {
        "recovery_rate": rate,
        "recovery_rate_narrowed_only": float(np.mean(told)),
        "recovery_narrowed": float(np.mean(narrowed)),
        "recovery_arms": len(rows),
    }


def calibration(robot: RobotModel, command: np.ndarray, config: FitConfig, arms: int) -> dict[str, float]:
    """Factors on the standard deviation with which 90 % of the truths lie inside, by term (conformal scores)."""
    scores: dict[str, list[float]] = {}
    seeds = list(CALIBRATION_SEEDS)[:arms]
    for in_mujoco in (False, True):
        for seed in seeds:
            at = seed + (500 if in_mujoco else 0)
            result, found, _, true_u = recover(robot, command, at, in_mujoco, config, dict.fromkeys(ALL_TERMS, 1.0))
            for i, name in enumerate(result.prior.names):
                if found.free[i] and result.std[i] < PRIOR_STD:
                    score = abs(true_u[i] - result.u[i]) / (1.645 * result.std[i])
                    scores.setdefault(term_of(name), []).append(float(score))
            print(f"  arm {at}: fit {found.seconds:.0f} s, error {1e3 * found.sigma.mean():.2f} mrad", flush=True)
    factors = {}
    for term, values in scores.items():
        rank = min(int(np.ceil(LEVEL * (len(values) + 1))), len(values))  # the conformal quantile
        factors[term] = round(max(1.0, float(np.sort(values)[rank - 1])), 2)
        print(f"  {term:16} {factors[term]:6.2f}  ({len(values)} values)")
    return factors


ALL_TERMS = sorted({term_of(name) for name in prior(load_robot("xarm6")).names})

PARTS = ("so101", "panda", "recovery")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--data", type=Path, help="folder with so101/ and panda_torque/")
    parser.add_argument("--quick", action="store_true", help="small budgets: does it run?")
    parser.add_argument("--calibrate", action="store_true", help="with recovery: measure the widening factors instead")
    parser.add_argument("--arms", type=int, default=20, help="with recovery: arms of each engine, at most 20 (10)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    parts = arguments.parts or PARTS
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"unknown part '{unknown[0]}'; known are {', '.join(PARTS)}")
    if arguments.data is None and set(parts) - {"recovery"}:
        parser.error("so101 and panda need --data")
    cpu = platform.processor() or platform.machine()
    versions = f"Python {sys.version.split()[0]}, numpy {np.__version__}"
    print(f"{cpu}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {versions}")
    began, figures = time.perf_counter(), {}
    if "so101" in parts:
        figures |= so101(arguments.data, arguments.quick)
    if "panda" in parts:
        figures |= panda(arguments.data, arguments.quick)
    if "recovery" in parts:
        figures |= recovery(arguments.quick, arguments.calibrate, 2 if arguments.quick else arguments.arms)
    figures["minutes"] = (time.perf_counter() - began) / 60
    print(f"{figures['minutes']:.1f} minutes")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
