"""The bundle: what is written is what is read, and anything else is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from policies.bundle import BundleError, PolicyBundle
from robots.shapes.hulls import arm_hulls
from robots.specs import SpecError
from tests.support.tiny_bundle import tiny_bundle

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return tiny_bundle().save(tmp_path / "bundle")


@pytest.mark.parametrize("name", ["bundle", "bundle.zip"])
def test_round_trip(tmp_path: Path, name: str) -> None:
    bundle = tiny_bundle()
    loaded = PolicyBundle.load(bundle.save(tmp_path / name))
    assert loaded.hash == bundle.hash
    assert loaded.check_parity() < 1e-6
    assert (loaded.observation, loaded.action, loaded.cameras) == (bundle.observation, bundle.action, bundle.cameras)
    assert loaded.robot == bundle.robot
    np.testing.assert_array_equal(loaded.robot.chain.jacobian(np.zeros(7)), bundle.robot.chain.jacobian(np.zeros(7)))
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]  # no scratch left


def test_nothing_is_overwritten(saved: Path) -> None:
    before = (saved / "manifest.json").read_bytes()
    with pytest.raises(BundleError, match="exists already"):
        tiny_bundle(gain=1.0).save(saved)
    assert (saved / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("name", ["policy.onnx", "parity.npz", "robot.urdf"])
def test_an_altered_file_is_named(saved: Path, name: str) -> None:
    content = bytearray((saved / name).read_bytes())
    content[len(content) // 2] ^= 1
    (saved / name).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{name} has been altered: SHA-256 is \w+…, the manifest says \w+…"):
        PolicyBundle.load(saved)


@pytest.mark.parametrize("name", ["manifest.json", "policy.onnx", "parity.npz", "robot.urdf"])
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        PolicyBundle.load(saved)


def test_other_things_are_no_bundles(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not exist"):
        PolicyBundle.load(tmp_path / "nothing")
    (tmp_path / "text.zip").write_text("hello")
    with pytest.raises(BundleError, match="neither a folder nor a zip"):
        PolicyBundle.load(tmp_path / "text.zip")


def edit_manifest(saved: Path, **changes: object) -> None:
    path = saved / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_another_format_version_is_refused(saved: Path) -> None:
    edit_manifest(saved, format_version=99)
    with pytest.raises(BundleError, match="format version 99, this program reads 1"):
        PolicyBundle.load(saved)


def test_a_graph_of_other_inputs_is_refused(saved: Path) -> None:
    manifest = json.loads((saved / "manifest.json").read_text())
    edit_manifest(saved, observation={"arrays": manifest["observation"]["arrays"][:1]})
    with pytest.raises(
        BundleError, match=r"policy\.onnx takes \['q', 'ee_pos', 'image_front'\], the manifest's arrays"
    ):
        PolicyBundle.load(saved)


def test_wrong_parity_is_found() -> None:
    bundle = tiny_bundle()
    off = {**bundle.parity, "action": bundle.parity["action"] + 1e-3}
    with pytest.raises(BundleError, match=r"replayed actions differ from the recorded ones by 0\.001"):
        replace(bundle, parity=off).check_parity()


def test_a_policy_of_nan_is_found() -> None:
    """max(0, NaN) is 0: a deviation that is not a number must not pass as none."""
    bundle = tiny_bundle()
    with pytest.raises(BundleError, match=r"record 0 of parity\.npz is replayed as \[nan nan nan\]"):
        replace(bundle, onnx=tiny_bundle(poison=-9.0).onnx).check_parity()


def test_parity_of_other_lengths_shapes_or_nan_is_refused(tmp_path: Path) -> None:
    bundle = tiny_bundle()
    q, action = bundle.parity["observation.q"], bundle.parity["action"]
    for number, (key, value) in enumerate(
        (
            ("observation.q", q[:2]),
            ("observation.q", q[:, :6]),
            ("action", action[:, :2]),
            ("action", np.full_like(action, np.nan)),
        )
    ):
        path = replace(bundle, parity={**bundle.parity, key: value}).save(tmp_path / str(number))
        with pytest.raises(BundleError, match=rf"parity\.npz holds '{key}' of shape .*, expected"):
            PolicyBundle.load(path)


def test_an_observation_that_does_not_fit_is_refused() -> None:
    bundle = tiny_bundle()
    good = {name: bundle.parity[f"observation.{name}"][0] for name in bundle.observation.names}
    bundle.act(good)
    for name, value, message in (
        ("q", good["q"][:6], r"'q': shape \(6,\), expected \(7,\)"),
        ("q", good["q"].astype(np.float64), "'q': dtype float64, expected float32"),
        ("q", np.full(7, np.nan, np.float32), "'q': 7 elements are NaN"),
        ("q", np.full(7, 9.0, np.float32), r"'q': element 0 is 9 rad, expected within \[-2.997, 2.997\]"),
        ("image_front", good["image_front"][:, :80], r"shape \(84, 80, 3\), expected \(84, 84, 3\)"),
    ):
        with pytest.raises(SpecError, match=message):
            bundle.act({**good, name: value})
    with pytest.raises(SpecError, match=r"missing \['q'\]"):
        bundle.act({name: value for name, value in good.items() if name != "q"})


@pytest.mark.slow
def test_it_runs_where_only_numpy_and_onnxruntime_are(saved: Path, tmp_path: Path) -> None:
    """A fresh environment with nothing else gives the recorded actions to 1e-5."""
    venv.create(tmp_path / "bare", with_pip=True)
    python = tmp_path / "bare" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "numpy", "onnxruntime"], check=True)
    source = tmp_path / "source"
    for room in ("robots", "policies"):
        shutil.copytree(ROOT / room, source / room, ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        "import importlib.util as u\n"
        "others = ('torch', 'pybullet', 'cv2', 'scipy', 'numba', 'gymnasium', 'pinocchio')\n"
        "assert not any(u.find_spec(m) for m in others)\n"
        "from policies.bundle.policy_bundle import PolicyBundle\n"
        f"print(PolicyBundle.load({str(saved)!r}).check_parity())\n"
    )
    printed = subprocess.run([python, "-c", code], cwd=source, capture_output=True, text=True, check=True).stdout
    assert float(printed) <= 1e-5


def test_bundle_check_command(saved: Path) -> None:
    def check(path: Path) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "sim2real", "bundle", "check", str(path)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    good = check(saved)
    assert good.returncode == 0
    assert "3 recorded actions" in good.stdout
    (saved / "robot.urdf").write_text("<robot/>")
    bad = check(saved)
    assert bad.returncode == 1
    assert bad.stdout == ""
    assert len(bad.stderr.splitlines()) == 1
    assert "robot.urdf has been altered" in bad.stderr


def test_a_hull_of_nan_is_refused(tmp_path: Path) -> None:
    bundle = tiny_bundle()
    hulls = {**arm_hulls(bundle.robot), "panda_link4": np.full((8, 3), np.nan)}
    path = replace(bundle, robot=replace(bundle.robot, hulls=hulls)).save(tmp_path / "bundle")
    with pytest.raises(BundleError, match=r"hull of link 'panda_link4' is float64 \(8, 3\), expected finite corners"):
        PolicyBundle.load(path)
