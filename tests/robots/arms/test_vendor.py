"""Vendors' files: found in a folder that the user names, fetched with pinned hashes, and refused otherwise."""

import hashlib
import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from policies.runtime.gripper import finger_speed
from robots.arms import vendor
from robots.registry import ARM_FILES, load_robot
from robots.specs import SpecError
from sim.tasks import fitted_task
from sim2real.command_line import main
from sim2real.rig import default_rig
from tests.support.servo_arm import urdf

SHAPES = "solid one\nfacet normal 0 0 1\nendsolid one\n"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Serve two files as a vendor's; return their folder and their address."""
    folder = tmp_path / "published"
    (folder / "assets").mkdir(parents=True)
    (folder / "arm.urdf").write_text(urdf())
    (folder / "assets" / "part.stl").write_text(SHAPES)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    sums = tmp_path / "sums"
    names = ("arm.urdf", "assets/part.stl")
    sums.write_text("".join(f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in names))
    monkeypatch.setitem(vendor.VENDORS, "kit", vendor.VendorFiles(address, "made up", sums))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(vendor.FOLDERS, raising=False)
    yield folder
    server.shutdown()
    server.server_close()


def test_files_are_fetched_once_and_found(published, capsys):
    with pytest.raises(SpecError, match=r"'arm.urdf' of arm 'kit' is not in .*; 'sim2real fetch kit' downloads it"):
        vendor.find_vendor_file("vendor://kit/arm.urdf")
    assert main(["fetch", "kit"]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == ["arm.urdf", "assets/part.stl"]
    assert vendor.find_vendor_file("vendor://kit/arm.urdf").read_text() == urdf()
    assert main(["fetch", "kit"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1  # the folder alone


def test_a_file_that_is_not_the_pinned_one_is_not_kept(published, capsys):
    (published / "assets" / "part.stl").write_text("another")
    assert main(["fetch", "kit"]) == 1
    assert "assets/part.stl: SHA-256 is " in (told := capsys.readouterr().err)
    assert "was not kept" in told
    with pytest.raises(SpecError, match="sim2real fetch kit"):
        vendor.find_vendor_file("vendor://kit/assets/part.stl")


def test_a_server_that_does_not_answer_is_told_with_the_next_step(published, capsys):
    assert main(["fetch", "kit", "--source", "http://127.0.0.1:9/nothing"]) == 1
    told = capsys.readouterr().err
    assert "http://127.0.0.1:9/nothing/arm.urdf: " in told
    assert "is there a network? Else copy the vendor's files of 'kit' to a folder" in told
    with pytest.raises(SpecError, match="no vendor's files are known of arm 'panda'; known are so101, kit"):
        vendor.fetch("panda")


def test_a_folder_that_the_user_names_comes_first(published, monkeypatch):
    monkeypatch.setenv(vendor.FOLDERS, str(published))
    assert vendor.find_vendor_file("vendor://kit/arm.urdf") == published / "arm.urdf"


def test_the_so101_asks_for_its_vendors_files(published):
    with pytest.raises(SpecError, match=r"'so101_new_calib.urdf' of arm 'so101' is not in .*; 'sim2real fetch so101'"):
        load_robot("so101")
    assert "so101_new_calib.urdf" in vendor.VENDORS["so101"].hashes()
    assert all(path.is_file() for path in ARM_FILES.values())


NAMES = {
    **{each: f"{each}_link" for each in ("base", "shoulder", "wrist")},
    "upper": "upper_arm_link",
    "lower": "lower_arm_link",
    "hand": "gripper_link",
    "jaw": "moving_jaw_so101_v1_link",
    "tip": "gripper_frame_link",
}
"""The vendor's names of the test arm's links."""


def test_the_so101s_arm_file_fits_a_urdf_with_the_vendors_names(tmp_path, monkeypatch):
    text = re.sub('(?:link name|link)="([a-z]+)"', lambda m: m[0].replace(m[1], NAMES[m[1]]), urdf())
    (tmp_path / "so101_new_calib.urdf").write_text(text)
    monkeypatch.setenv(vendor.FOLDERS, str(tmp_path))
    arm = load_robot("so101")
    assert arm.rig == default_rig("so101") == "front_wrist"
    assert default_rig("franka_panda") == "front_side"
    assert arm.gripper.opened == pytest.approx(0.041)
    assert arm.jaw == pytest.approx([0.0, 1.0, 0.0], abs=1e-3)
    assert set(arm.landmarks) <= set(arm.tree.links)
    assert fitted_task("pick_place", arm).cameras[1].T_ee_camera is not None
    assert finger_speed(arm) == pytest.approx(4.7 * 0.0365, rel=0.2)
