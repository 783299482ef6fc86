"""How well an arm is identified from recordings: real SO-101, real Panda torques, and arms whose truth is known.

    python benchmarks/identification.py --data DATA            all parts
    python benchmarks/identification.py recovery --quick       no data needed

so101     fit on five of the ten motions (drawn by seed 2026 before anything was looked at), judged on the others; and
          the other way round, for bands of motions that were left out
panda     inertial parameters on the first two thirds of the samples, judged on the last third, through the written URDF
recovery  40 arms drawn from the prior, 20 logged by our simulator and 20 by MuJoCo: is the truth in the 90 % interval?
          By parameter; with --quick by the search that `sim2real identify --quick` has.
          --calibrate measures the widening factors on 20 other arms and prints them
loop      the virtual arm, made late and loaded, is recorded and identified; policies trained on the result, on `mild`
          and on `full` are judged on it, five seeds each
contact   30 objects of hidden mass and friction, pushed and lifted by MuJoCo's Panda: are they in the 90 % interval?
          --calibrate measures the widening factors on 20 other objects and prints them
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from adaptation.identification.fit import QUICK, FitConfig
from adaptation.identification.joint_log import JointLog
from adaptation.identification.log_files import find_logs, read_log
from adaptation.identification.pipeline import IdentifyConfig, identify_arm, split_recordings
from adaptation.identification.torque.identification import identify_torques
from benchmarks.identifying.contact_recovery import contact
from benchmarks.identifying.identification_loop import loop
from benchmarks.identifying.identification_recovery import recovery
from benchmarks.parts.record import heading, origin, save
from robots.model import RobotModel
from robots.registry import load_robot

SO101_SPLIT_SEED = 2026
SO101_TORQUE = 2.94  # N·m: Feetech STS3215 at 12 V, 30 kg·cm; the URDF says 10, which no hobby servo has
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
    result = identify_arm(robot, logs, config)
    figures = result.figures()
    late = delay_and_offset(robot, logs, result.trained_on, result.evaluated_on)
    stock = stock_pybullet(robot, logs, result.evaluated_on)
    print(
        f"so101{', quick' * quick}: fit on {', '.join(result.trained_on)}; judged on {', '.join(result.evaluated_on)}"
    )
    for name, value in figures["rmse_by_recording"].items():
        print(f"  {name:20} {value:.4f} rad")
    print(
        f"  mean RMSE of five joints, whole motion, open loop: {figures['rmse_after']:.4f} rad; the same motions with "
        f"delay and offset {late:.4f}, stock PyBullet position control {stock:.4f}; target 0.012"
    )
    inside = {replay.name: float(replay.inside.mean()) for replay in result.replays}
    swapped = next(
        seed
        for seed in itertools.count()
        if {log.name for log in split_recordings(logs, config.held_out, seed)[0]} == set(result.evaluated_on)
    )
    other = identify_arm(robot, logs, replace(config, seed=swapped))
    inside |= {replay.name: float(replay.inside.mean()) for replay in other.replays}
    for name, share in inside.items():
        print(f"  {name:20} 90 % band holds {100 * share:.1f} %")
    held = np.array(list(inside.values()))
    half = 2.262 * held.std(ddof=1) / np.sqrt(len(held))  # Student's t, 9 degrees of freedom
    print(
        f"  90 % bands of ten motions, each left out by its fit: {100 * held.mean():.1f} ± {100 * half:.1f} % of the "
        "real samples (motions are the unit); target 85 to 95 %"
    )
    print(
        f"  {figures['candidates']} candidates in {figures['seconds']:.0f} s, {figures['sim_steps_per_s']:.0f} steps/s"
    )
    return {
        "so101_rmse": figures["rmse_after"],
        "so101_rmse_delay_and_offset": late,
        "so101_rmse_stock_pybullet": stock,
        "so101_rmse_by_recording": figures["rmse_by_recording"],
        "so101_band_90": float(held.mean()),
        "so101_band_90_95": [float(held.mean() - half), float(held.mean() + half)],
        "so101_band_90_by_recording": inside,
        "so101_quick": quick,
        "so101_trained_on": figures["trained_on"],
        "so101_evaluated_on": figures["evaluated_on"],
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


def panda(data: Path) -> dict:
    robot = load_robot("franka_panda")
    log = read_log(data / "panda_torque" / "excitation_first_60pct.npz", robot.joint_names)
    began = time.process_time()
    found = identify_torques(robot, [log], without=("panda_hand",))
    processor = time.process_time() - began
    before, after = found.rmse
    told = found.told
    print(
        f"panda: torque RMSE on the last third, through the written URDF [N·m]: {' '.join(f'{v:.3f}' for v in after)}"
    )
    print("  target (model published with the data)     : 0.260 0.590 0.250 0.290 0.130 0.090 0.060")
    print(f"  given URDF                                 : {' '.join(f'{v:.3f}' for v in before)}")
    print(
        f"  largest difference of URDF and fit: {found.difference:.1e} N·m; {found.seconds:.1f} s from log to "
        f"URDF, {processor:.1f} s of one processor"
    )
    print(
        f"  told: {sum(e.told for e in told.parameters)} of {len(told.parameters)} parameters, "
        f"{sum(e.told for e in told.base)} of {len(told.base)} base parameters"
    )
    print(f"  masses [kg]: {' '.join(f'{m:.2f}' for m in found.fit.masses())}")
    return {
        "panda_tau_rmse": after.tolist(),
        "panda_tau_rmse_given_urdf": before.tolist(),
        "urdf_round_trip": found.difference,
        "torque_seconds": found.seconds,
        "torque_processor_seconds": processor,
    }


PARTS = ("so101", "panda", "recovery", "loop", "contact")
DATA = {"so101", "panda"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--data", type=Path, help="folder with so101/ and panda_torque/")
    parser.add_argument("--quick", action="store_true", help="small budgets: does it run?")
    parser.add_argument("--calibrate", action="store_true", help="with recovery, contact: measure the widening factors")
    parser.add_argument("--arms", type=int, help="with recovery: arms of each engine, at most 20 (10); 2 with --quick")
    parser.add_argument("--fits", type=Path, help="with recovery: folder where fits are kept, and looked for first")
    parser.add_argument("--seeds", type=int, default=5, help="with loop: policies trained in each space")
    parser.add_argument("--runs", type=Path, help="with loop: folder where its runs are kept, and looked for first")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    parts = arguments.parts or PARTS
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"unknown part '{unknown[0]}'; known are {', '.join(PARTS)}")
    if arguments.data is None and DATA & set(parts):
        parser.error("so101 and panda need --data")
    described = origin(range(arguments.seeds))
    print(heading(described))
    began, figures = time.perf_counter(), {}
    if "so101" in parts:
        figures |= so101(arguments.data, arguments.quick)
    if "panda" in parts:
        figures |= panda(arguments.data)
    if "recovery" in parts:
        arms = arguments.arms or (2 if arguments.quick else 20)
        figures |= recovery(arguments.quick, arguments.calibrate, arms, arguments.fits)
    if "loop" in parts:
        figures |= loop(arguments.quick, 1 if arguments.quick else arguments.seeds, arguments.runs)
    if "contact" in parts:
        figures |= contact(arguments.quick, arguments.calibrate)
    figures["minutes"] = (time.perf_counter() - began) / 60
    print(f"{figures['minutes']:.1f} minutes")
    save(arguments.json, described, figures)


if __name__ == "__main__":
    main()
