"""What training saw passes, what it never saw is named; and every reason that is counted is explained."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from policies.bundle import PolicyBundle
from policies.bundle.input_watch import InputWatch, picture_statistics
from policies.runtime.loop import RefusalError
from policies.runtime.loop_limits import LoopLimits
from robots.specs import ArraySpec, ObservationSpec, SpecError
from tests.policies.runtime.test_runtime import make
from tests.support.tiny_bundle import tiny_bundle

ROOT = Path(__file__).resolve().parents[3]
SPEC = ObservationSpec(
    (ArraySpec("q", (4,), "float32", -3.0, 3.0, "rad", "joint"), ArraySpec.image("image_front", 20, 30))
)


def training(rng: np.random.Generator, n: int = 200) -> dict[str, np.ndarray]:
    """Joints of which the second follows the first, and scenes of uneven light."""
    q = rng.uniform(-0.5, 0.5, (n, 4)).astype(np.float32)
    q[:, 1] = q[:, 0] + 0.02 * rng.standard_normal(n)
    light = rng.uniform(80, 160, (n, 1, 1, 1))
    images = np.clip(light + 30 * rng.standard_normal((n, 20, 30, 3)), 0, 255).astype(np.uint8)
    return {"q": q, "image_front": images}


@pytest.fixture(scope="module")
def watch() -> InputWatch:
    return InputWatch.record(SPEC, training(np.random.default_rng(0)))


def one(watch_input: dict[str, np.ndarray], i: int = 0) -> dict[str, np.ndarray]:
    return {name: rows[i] for name, rows in watch_input.items()}


def test_what_is_like_training_passes(watch):
    fresh = training(np.random.default_rng(1))
    assert [watch.reason(one(fresh, i)) for i in range(200)] == [""] * 200


def test_a_joint_out_of_range_is_named_with_what_was_seen(watch):
    odd = one(training(np.random.default_rng(1)))
    odd["q"] = np.array([0.1, 0.1, 2.5, 0.0], np.float32)
    assert re.match(r"input 'q': element 2 is 2\.5, training saw -0\.\d+ to 0\.\d+ \(allowed", watch.reason(odd))


def test_an_unknown_combination_of_known_values_is_seen(watch):
    odd = one(training(np.random.default_rng(1)))
    odd["q"] = np.array([0.45, -0.45, 0.0, 0.0], np.float32)
    assert "the combination is not" in watch.reason(odd)


@pytest.mark.parametrize("name", ["covered", "white", "uniform", "red", "noise"])
def test_a_camera_that_fails_is_seen(watch, name):
    rng = np.random.default_rng(2)
    pictures = {
        "covered": np.zeros((20, 30, 3), np.uint8),
        "white": np.full((20, 30, 3), 255, np.uint8),
        "uniform": np.full((20, 30, 3), 120, np.uint8),
        "red": np.full((20, 30, 3), (250, 10, 10), np.uint8),
        "noise": rng.choice([0, 255], (20, 30, 1)).astype(np.uint8).repeat(3, 2),
    }
    odd = {**one(training(rng)), "image_front": pictures[name]}
    assert re.match(
        r"input 'image_front': (mean of \w+|contrast|sharpness) is .* is the lens covered", watch.reason(odd)
    )


def test_it_survives_json(watch):
    again = InputWatch.from_dict(json.loads(json.dumps(watch.to_dict())))
    assert again == watch


def test_too_few_or_broken_records_are_refused():
    few = {name: rows[:10] for name, rows in training(np.random.default_rng(0)).items()}
    with pytest.raises(SpecError, match="input 'q': 10 observations, expected at least 32"):
        InputWatch.record(SPEC, few)
    broken = training(np.random.default_rng(0))
    broken["q"][3, 1] = np.nan
    with pytest.raises(SpecError, match="input 'q': values that are not finite"):
        InputWatch.record(SPEC, broken)


def test_picture_statistics_are_read_off():
    half = np.zeros((8, 8, 3), np.uint8)
    half[:, 4:] = (200, 100, 0)
    red, green, blue, contrast, sharpness = picture_statistics(half)
    assert (red, green, blue) == (100, 50, 0)
    assert contrast == pytest.approx(50)
    assert sharpness == pytest.approx(100 / 3)  # one step of 100 among three differences


def test_loop_refuses_and_says_so_and_the_bundle_carries_the_watch(tmp_path):
    bundle = tiny_bundle(camera=None)
    home = np.array(bundle.robot.home)
    rng = np.random.default_rng(0)
    q = (home + 2.0 + rng.uniform(-0.1, 0.1, (64, 7))).astype(np.float32)  # trained elsewhere
    ee = rng.uniform(-1, 1, (64, 3)).astype(np.float32)
    watched = replace(bundle, inputs=InputWatch.record(bundle.observation, {"q": q, "ee_pos": ee}))
    loaded = PolicyBundle.load(watched.save(tmp_path / "b"))
    assert loaded.inputs == watched.inputs
    loop, _ = make(loaded)
    with pytest.raises(RefusalError, match="input 'q': element") as refusal:
        loop.start()
    assert refusal.value.key == "input_unknown"
    careless, _ = make(loaded, LoopLimits(check_inputs=False))
    careless.start()
    assert PolicyBundle.load(bundle.save(tmp_path / "old")).inputs == InputWatch({})


def test_adaptation_widens_what_pictures_may_look_like_and_nothing_else(watch):
    """Light that only the target has is refused before and known afterwards; a covered lens is refused by both."""
    dark = np.full((5, 20, 30, 3), 4, np.uint8)
    bright = np.clip(np.random.default_rng(2).normal(246, 15, (20, 20, 30, 3)), 0, 255).astype(np.uint8)
    wider = watch.widened({"image_front": bright, "image_wrist": bright})
    assert wider.ranges["q"] is watch.ranges["q"]
    assert "image_wrist" not in wider.ranges
    known = one(training(np.random.default_rng(1)))
    assert watch.reason({**known, "image_front": bright[0]})
    assert not wider.reason({**known, "image_front": bright[0]})
    for each in (watch, wider):
        assert each.reason({**known, "image_front": dark[0]})


# Reasons


def explained(heading: str) -> dict[str, tuple[str, str]]:
    """Read the table under `heading` of the page: what each count means, and what to do."""
    section = (ROOT / "docs" / "troubleshooting.md").read_text().split(f"{heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(.+?)` \| (.+) \| (.+) \|$", section, re.MULTILINE)
    assert len({key for key, _, _ in rows}) == len(rows)
    return {key: (meaning, remedy) for key, meaning, remedy in rows}


def counted() -> set[str]:
    """Every key under which the gate's side counts, read from the code."""
    found: set[str] = set()
    names = (
        "policies/runtime/safety_filter.py",
        "policies/runtime/gate.py",
        "policies/runtime/gripper.py",
        "policies/runtime/collision.py",
    )
    for name in (*names, "ros_nodes/safety_gate.py"):
        text = (ROOT / name).read_text()
        found |= set(re.findall(r"(?:stop|reject|request_stop)\(\s*\"([a-z_]+)\"", text))
        found |= set(re.findall(r"_stop_requests\.append\(\s*\(\"([a-z_]+)\"", text))
        found |= set(re.findall(r"(?:_rejected|self\.counts)\[\"([a-z_]+)\"\] \+= 1", text))
        found |= set(re.findall(r"reasons\.append\(\"([a-z_]+)\"\)", text))
        found |= set(re.findall(r"_blocked(?:, self\.approach)? = \"([a-z_]+)\"", text))
    return found | {"keep_out", "self_collision"}  # `Approach.reason`


def test_every_reason_that_is_counted_is_explained_and_none_is_made_up():
    assert counted() == set(explained("## States and counts of the safety gate"))


def test_every_refusal_of_the_policy_is_explained_and_none_is_made_up():
    runtime, cameras, arm, node, inputs, poses = (
        (ROOT / name).read_text()
        for name in (
            "policies/runtime/loop.py",
            "policies/runtime/inputs/camera_watch.py",
            "ros_nodes/arm/gated_arm.py",
            "ros_nodes/policy_node.py",
            "ros_nodes/arm/inputs.py",
            "ros_nodes/arm/pose_inputs.py",
        )
    )
    refused = re.findall(r"RefusalError\((?:[^()]|\([^()]*\))*?\"([a-z_]+)\",?\s*\)", runtime + arm + node)
    refused += re.findall(r"\"(camera_[a-z]+)\"", cameras)
    counted = re.findall(r"_count\((?:getattr\(error, \"key\", )?\"([a-z_]+)\"", node)
    dropped = [re.sub(r"\{.*?\}", "…", key) for key in re.findall(r"_reject\(f?\"(.*?)\"", inputs + poses)]
    behind_a_filter_of_its_own = {"limits", "not_running"}  # no node has one, or calls a loop that does not run
    assert len(refused) > 8
    assert {*refused, *counted, *dropped} - behind_a_filter_of_its_own == set(explained("## Counts of the policy node"))
