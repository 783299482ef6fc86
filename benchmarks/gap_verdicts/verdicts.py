"""The gap report's truth table: what it calls covered, not covered and not told, against what is true.

A camera policy is trained once; recordings of known cameras, light, lens and noise, of other arms, of noise
and of black images are reported on as `sim2real gap` does.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from adaptation.gap.camera_gap import measure_gaps
from adaptation.visual.inputs import AdaptationInputs
from benchmarks.gap_verdicts.recordings import KINDS, UNLIKE, Recorder, load_space
from policies.bundle import PolicyBundle
from policies.imitation.camera_run import TrainConfig, train_camera
from policies.models.restore import restore_student
from policies.scoring.intervals import wilson
from sim.datasets.labelled_renders import draw_renders
from sim.env import ArmEnv
from sim.tasks.recipe import PerceptionRecipe
from sim.tasks.task import CAMERAS

RECORDINGS, VIEWS = 60, 300
FIRST_SEED = 7_000_000
"""Of the recordings; training and evaluation use others."""
UNTRUE = "unlike"


def gap_truth(folder: Path, count: int, bundle: Path | None = None) -> dict[str, float]:
    """Report on `count` recordings with the policy of `bundle`, or one that is trained into `folder` and kept there."""
    policy = PolicyBundle.load(bundle or _trained(folder))
    student, space = restore_student(policy), load_space(policy, "full")
    recorder = Recorder(policy, space)
    env = ArmEnv(policy.task, recorder.robot, space, CAMERAS, cameras=recorder.rig)
    try:
        views = draw_renders(env, VIEWS, FIRST_SEED)
    finally:
        env.close()
    table: Counter[tuple[str, str, str]] = Counter()
    seen: Counter[tuple[str, bool]] = Counter()
    shifted_cameras: Counter[bool] = Counter()
    for i in range(count):
        engine = ("ours", "mujoco")[(i + i // len(KINDS)) % 2]
        recording = recorder.record(KINDS[i % len(KINDS)], engine, FIRST_SEED + 1 + i)
        inputs = AdaptationInputs(policy, recording.target, 0)
        for gap in measure_gaps(student, inputs, views, space):
            truth = recording.shifted[gap.camera]
            seen[recording.kind, not gap.unknown] += 1
            found = {factor.name: factor.verdict for factor in (*gap.factors, *gap.poses) if factor.name in truth}
            for name, verdict in found.items():
                of = UNTRUE if recording.kind in UNLIKE else ("outside" if truth[name] else "inside")
                table[name.split("_")[-1] if name.startswith("camera_") else name, of, verdict] += 1
            if recording.kind == "camera":
                told = [n for n, v in found.items() if v == "not covered" and n.startswith("camera_") and truth[n]]
                shifted_cameras[bool(told)] += 1
        print(f"  {i + 1:3} {recording.kind:16} {engine:7}", *(_words(gap.unknown) for gap in [gap]), flush=True)
    return _figures(table, seen, shifted_cameras)


def _figures(table: Counter, seen: Counter, shifted_cameras: Counter) -> dict[str, float]:
    names = sorted({name for name, _, _ in table})

    def total(of: str, verdict: str | None = None, name: str | None = None) -> int:
        keys = [key for key in table if key[1] == of and verdict in (None, key[2]) and name in (None, key[0])]
        return sum(table[key] for key in keys)

    print(f"  {'factor':15} outside: not covered, not told, covered   inside: the same   unlike: covered")
    for name in names:
        parts = [
            " / ".join(f"{total(of, verdict, name):3}" for verdict in ("not covered", "not told", "covered"))
            for of in ("outside", "inside")
        ]
        unlike = f"{total(UNTRUE, 'covered', name):12} / {total(UNTRUE, name=name)}"
        print(f"  {name:15} {parts[0]:>20} {parts[1]:>32} {unlike}")
    for kind in dict.fromkeys(KINDS):
        print(f"  {kind:16} cameras found in {seen[kind, True]} of {seen[kind, True] + seen[kind, False]}")
    unlike = [seen[kind, told] for kind in UNLIKE for told in (False, True)]
    wrong, untrue = total("outside", "covered"), total(UNTRUE, "covered")
    counts = {
        "false_covered": (wrong + untrue, total("outside") + total(UNTRUE)),
        "false_covered_shifted": (wrong, total("outside")),
        "false_covered_unlike": (untrue, total(UNTRUE)),
        "sensitivity": (total("outside", "not covered"), total("outside")),
        "specificity": (total("inside") - total("inside", "not covered"), total("inside")),
        "covered_inside": (total("inside", "covered"), total("inside")),
        "shifted_camera_noticed": (shifted_cameras[True], shifted_cameras.total()),
        "unlike_recognised": (sum(unlike[::2]), sum(unlike)),
    }
    figures: dict[str, float] = {}
    for key, (hits, trials) in counts.items():
        if trials:
            rate = wilson(hits, trials)
            figures[key] = rate.estimate
            figures[f"{key}_low"], figures[f"{key}_high"] = rate.low, rate.high
            print(f"  {key:24} {hits} of {trials}: {rate.estimate:.3f} [{rate.low:.3f}, {rate.high:.3f}]")
    return figures


def _words(unknown: str) -> str:
    return unknown.split(":")[0].split(",")[0][:70] or "arm found"


def _trained(folder: Path) -> Path:
    """Train a reaching policy with two cameras under `full` into `folder`, unless one is there."""
    if not (folder / "policy" / "bundle" / "manifest.json").is_file():
        perception = PerceptionRecipe(renders=4_000, steps=600, held_out=500)
        config = TrainConfig(
            folder / "policy",
            "reach",
            "franka_panda",
            "front_side",
            "full",
            workers=1,
            threads=1,
            perception=perception,
        )
        train_camera(config, lambda stage, share, text: None)
    return folder / "policy" / "bundle"
