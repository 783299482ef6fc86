"""Registered, blinded sessions over ROS 2: unattended, and with an operator's browser at the page.

SIM2REAL_LAB_PLACES=30 makes both sessions of three policies as long as a lab's: 90 trials.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from selenium.webdriver.common.by import By
from sensor_msgs.msg import JointState

from evaluation.report.session_report import protocol_deviations, read_session
from evaluation.session.protocol_file import register_file
from evaluation.session.scheduler import BY_OPERATOR
from evaluation.session.trials import Trial
from policies.bundle import PolicyBundle
from ros_nodes import topics
from ros_nodes.session.operator_interface import LOST, PRESSED
from sim.virtual_arm.hidden_reality import HiddenReality
from sim.virtual_arm.real_camera import true_camera
from sim2real.command_line import main
from tests.support.attended_session import ARM_PLAN, POLICY
from tests.support.browser import chromium, until
from tests.support.launch_stand_in import evaluate
from tests.support.tiny_bundle import CAMERA, tiny_bundle

pytestmark = [pytest.mark.ros, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[3]
PLACES = int(os.environ.get("SIM2REAL_LAB_PLACES", "0"))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> Path:
    """One policy that knows where the cube stands, one that is near it, and one that is wrong about it."""
    folder = tmp_path_factory.mktemp("bundles")
    # 5 is the quickest gain that does not circle the goal
    tiny_bundle((0.5, 0.1, 0.12), gain=5.0).save(folder / "right")
    tiny_bundle((0.5, 0.12, 0.12), gain=5.0).save(folder / "near")
    tiny_bundle((0.5, -0.05, 0.12), gain=5.0).save(folder / "wrong")
    return folder


def lab(folder: Path, bundles: Path, places: int, timeout: float = 2.0) -> Path:
    """A registered protocol in `folder`."""
    for name in ("right", "near", "wrong"):
        (folder / name).symlink_to(bundles / name)
    plan = folder / "lab.toml"
    policies = (POLICY.format(name=name, bundle=name) for name in ("right", "near", "wrong"))
    plan.write_text(ARM_PLAN.format(places=places, timeout=timeout) + "".join(policies))
    register_file(plan)
    return plan


def test_a_blinded_session_runs_unattended_and_is_reported(bundles, tmp_path, capfd) -> None:
    places = PLACES or 2
    plan, out = lab(tmp_path, bundles, places), tmp_path / "out"
    begun = time.monotonic()
    assert main(["session", "run", str(plan), "--robot", "virtual", "--out", str(out), "--videos", "1"]) == 0
    wall = time.monotonic() - begun
    said = capfd.readouterr().out
    before_results = said.split("session 'lab'")[0]
    assert not re.search(r"\((right|near|wrong)\)", before_results), "a blinded session names letters only"
    session = read_session(out)
    assert session.progress.left == 0
    schedule = session.folder.protocol.schedule()
    counted = {(t.policy, t.index): t for t in session.trials if not t.void}
    assert len(counted) + session.progress.excluded == 3 * places
    turns = [(t.policy, t.index) for t in schedule if (t.policy, t.index) in counted]
    assert [(t.policy, t.index) for t in session.trials if not t.void] == turns
    for planned in schedule:
        trial = counted.get((planned.policy, planned.index))
        if trial is None:
            continue
        assert dict(trial.initial) == dict(planned.initial)
        assert trial.automatic == trial.success
        assert trial.operator is None
        if not trial.note:  # else the machine stalled three times, before there was anything to measure
            assert trial.latency.count > 5
    rate = {r.policy: r.rate.estimate for r in session.results}
    assert rate["right"] >= 0.5
    assert rate["wrong"] == 0.0
    (recording,) = (out / "recording").glob("run_0/*.mcap")
    with recording.open("rb") as content:
        assert content.read(8) == b"\x89MCAP0\r\n"
    assert recording.stat().st_size > 100_000
    html = (out / "report.html").read_text()
    assert session.folder.registration.sha256 in html
    assert html.index("Failure of wrong") < html.index("Success of right")
    assert (out / "report.tex").read_text().count("wrong") >= 1
    print(f"{3 * places} trials, {wall:.0f} s, {wall / (3 * places):.2f} s a trial, void {session.progress.void}")


class Page:
    """A session as a process, with the address of its page."""

    def __init__(self, plan: Path, out: Path):
        arguments = ["session", "run", str(plan), "--robot", "virtual", "--page", "--out", str(out), "--videos", "1"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sim2real", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        )
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.said.append(line)

    def url(self) -> str:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for line in self.said:
                if line.startswith("operator's page: "):
                    return line.split(": ", 1)[1].strip()
            assert self.process.poll() is None, "".join(self.said)
            time.sleep(0.05)
        raise AssertionError("no address: " + "".join(self.said))

    def end(self) -> int:
        status = self.process.wait(timeout=90)
        self._reader.join(timeout=10)
        return status

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.process.kill()


def phase(browser) -> str:
    return browser.execute_script("return document.body.dataset.phase || ''")


def ready(browser) -> bool:
    """Whether the session waits for the operator before a trial, be it to clear a stop or to resume."""
    return any(browser.find_element(By.ID, name).is_enabled() for name in ("start", "clear", "resume"))


def next_trial(browser) -> None:
    """Clear what was stopped, resume what was paused, until the next trial may start."""
    while True:
        until(browser, ready, "the next trial")
        before = phase(browser)
        if before == "ready":
            return
        browser.find_element(By.ID, {"stopped": "clear", "paused": "resume"}[before]).click()
        until(browser, lambda b, p=before: phase(b) != p or not ready(b), "the answer to be taken")


def judged(session) -> list[Trial]:
    """Trials that an operator was asked about: all but those that a stall of the machine voided."""
    return [t for t in session.trials if not t.void or t.void_reason.startswith(BY_OPERATOR)]


def click(browser, button: str, timeout: float = 60.0) -> None:
    until(browser, lambda b: b.find_element(By.ID, button).is_enabled(), f"button {button}", timeout)
    browser.find_element(By.ID, button).click()


def test_a_session_runs_through_the_page(bundles, tmp_path) -> None:
    """The whole way as an operator goes it, with a void trial, a STOP, and a browser that is lost and comes back."""
    places = PLACES or 1
    plan, out = lab(tmp_path, bundles, places), tmp_path / "out"
    verdicts: list[str] = []

    def trial(browser, verdict: str, *, stop: bool = False) -> None:
        next_trial(browser)
        assert browser.find_element(By.ID, "policy").text == ""  # blinded
        if len(verdicts) < 3:  # the picture is live, not the empty frame of the start
            size = "return document.getElementById('camera').naturalWidth"
            until(browser, lambda b: b.execute_script(size) >= 320, "the camera's picture")
        while phase(browser) != "verdict":
            # Again where the machine stalled: such an attempt is void, and nobody is asked about it
            next_trial(browser)
            click(browser, "start")
            until(browser, lambda b: not b.find_element(By.ID, "start").is_enabled(), "the start to be taken")
            if stop:
                until(browser, lambda b: phase(b) in ("running", "verdict") or ready(b), "the arm to move")
                if phase(browser) == "running":
                    browser.find_element(By.ID, "stop").click()
            until(browser, lambda b: phase(b) == "verdict" or ready(b), "the end of the trial")
        if verdict == "void":
            browser.find_element(By.ID, "note").send_keys("the cable caught")
        click(browser, verdict)
        verdicts.append(verdict)

    with Page(plan, out) as page:
        url = page.url()
        with chromium(tmp_path / "first") as browser:
            browser.get(url)
            trial(browser, "success")
            trial(browser, "void")
            trial(browser, "failure", stop=True)
            next_trial(browser)
            number = browser.find_element(By.ID, "trial").text
        # The browser is gone. Nothing happens without it, and nothing is lost.
        deadline = time.monotonic() + 60
        while not any(e.kind == "paused" for e in read_session(out).events):
            assert time.monotonic() < deadline, "the loss was not noticed"
            time.sleep(0.2)
        assert len(judged(read_session(out))) == 3
        assert page.process.poll() is None
        with chromium(tmp_path / "second") as browser:
            browser.get(url)
            next_trial(browser)
            assert browser.find_element(By.ID, "trial").text == number
            while phase(browser) != "done":
                trial(browser, "success" if len(verdicts) % 2 else "failure")
                until(browser, lambda b: ready(b) or phase(b) == "done", "the next trial or the end")
            click(browser, "finish")
        assert page.end() == 0, "".join(page.said)
    session = read_session(out)
    assert session.progress.left == 0
    trials = judged(session)
    (void,) = (t for t in trials if t.void)
    assert void.void_reason == "operator: the cable caught"
    (stopped,) = (t for t in trials if t.stopped == PRESSED)
    assert not stopped.success
    said = {"success": True, "failure": False, "void": None}
    assert [t.operator for t in trials] == [said[v] for v in verdicts]
    for t in trials:
        assert t.automatic is not None
        assert t.void or t.success == t.automatic  # where the task can be judged, its measurement counts
    texts = protocol_deviations(session)
    assert any("the task measured" in text and "the operator saw" in text for text in texts)
    assert any(text.startswith("Paused") and LOST in text for text in texts)
    assert any(text.startswith("Page back") for text in texts)
    html = (out / "report.html").read_text()
    assert "the cable caught" in html
    assert PRESSED in html


def test_an_arm_that_is_there_is_homed_and_judged_by_its_joints(ros, bundles, tmp_path) -> None:
    """session.launch.py, in a namespace: nothing of the arm is started; its place topic and truth are not used."""
    plan = tmp_path / "lab.toml"
    plan.write_text(ARM_PLAN.format(places=2, timeout=6.0) + POLICY.format(name="right", bundle="right"))
    (tmp_path / "right").symlink_to(bundles / "right")
    register_file(plan)
    calibration = tmp_path / "front.json"
    calibration.write_text(json.dumps(true_camera(CAMERA, HiddenReality().camera).to_dict()))
    # The launch file's own limits are for first motions: a third of the speed
    quick = {"dq_scale": 0.75, "ddq_scale": 0.9, "jerk_scale": 0.2}
    mine = tmp_path / "mine.yaml"
    mine.write_text(json.dumps({"safety_gate": {"ros__parameters": quick}}))
    launch = evaluate(
        ROOT / "launch" / "session.launch.py",
        {
            "protocol": str(plan),
            "bundle": str(bundles / "right"),
            "out": str(tmp_path / "out"),
            "port": "0",
            "camera_calibration": str(calibration),
            "namespace": "lab",
            "frame_age": "0.25",
            "params_file": str(mine),
        },
    )
    environment = {**ros.environment, **launch.environment, "PYTHONUNBUFFERED": "1"}
    commands = {c.executable: c.arguments for c in launch.commands}
    commands["virtual_arm"] = ("--ros-args", "-r", "__ns:=/lab", "-p", f"bundle:={bundles / 'right'}")
    children = {}
    for executable, arguments in commands.items():
        children[executable] = subprocess.Popen(
            [sys.executable, "-m", f"ros_nodes.{executable}", *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    ros.processes += children.values()
    joints = ros.listen(JointState, f"/lab/{topics.JOINT_STATES}")
    robot = PolicyBundle.load(bundles / "right").robot
    url = None
    said = []
    for line in children["lab_session"].stdout:
        said.append(line)
        if line.startswith("operator's page: "):
            url = line.split(": ", 1)[1].strip()
            break
    assert url is not None, "".join(said)
    began_at: list[np.ndarray] = []

    def answer(phase: str, chosen: str) -> None:
        deadline = time.monotonic() + 90
        while (state := request(url, "/state?client=test"))["phase"] != phase or not state["answers"]:
            assert time.monotonic() < deadline, (phase, state)
            assert children["lab_session"].poll() is None, children["lab_session"].stdout.read()
            time.sleep(0.1)
        if chosen == "start":
            newest = joints[-1]
            began_at.append(np.array(newest.position)[robot.order(newest.name)])
        request(url, "/answer", {"key": state["key"], "answer": chosen, "note": "as seen"})

    while len(began_at) < 2:
        while (state := request(url, "/state?client=test"))["phase"] != "ready":
            if state["answers"]:  # home, placed, and where the machine stalled, clear or resume
                answer(state["phase"], state["answers"][0])
            time.sleep(0.1)
        answer("ready", "start")
        while (state := request(url, "/state?client=test"))["phase"] == "running" or not state["answers"]:
            time.sleep(0.1)
        if state["phase"] != "verdict":  # the machine stalled: void, and once more
            began_at.pop()
            continue
        answer("verdict", "success")
    answer("done", "finish")
    assert children["lab_session"].wait(timeout=90) == 0
    session = read_session(tmp_path / "out")
    assert session.folder.robot == "ros"
    assert [t.index for t in session.trials if not t.void] == [0, 1]
    for trial in judged(session):
        assert trial.operator is True
        assert trial.operator_note == "as seen"
        assert trial.automatic, trial
        assert trial.final_distance < 0.03
    for q in began_at:
        assert np.abs(q - np.array(robot.home)).max() < 0.05


def request(url: str, path: str, body: dict | None = None) -> dict:
    """Ask the page's server as the page does."""
    address = urlsplit(url)
    token = parse_qs(address.query)["token"][0]
    payload = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}"}
    asked = urllib.request.Request(f"http://{address.netloc}{path}", payload, headers)
    with urllib.request.urlopen(asked, timeout=30) as response:
        return json.loads(response.read())
