"""The operator's page in a real browser."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from evaluation.operator_page.operator_state import OperatorState, PastTrial, Question, SecondVerdict
from evaluation.operator_page.overlay import draw_ghost
from evaluation.operator_page.server import PageServer
from evaluation.report.page import write_report
from sim.scene import RigidBody, Shape
from tests.support.browser import accessibility_findings, chromium, prefer, until
from tests.support.operator_questions import READY, VERDICT
from tests.support.tiny_bundle import CAMERA

CUBE = RigidBody("object", (Shape("box", (0.04, 0.04, 0.04)),))
SIZES = {"tablet": (820, 1180), "laptop": (1366, 768)}


def text(browser, element: str) -> str:
    return browser.find_element(By.ID, element).text


def enabled(browser, *buttons: str) -> bool:
    names = ("clear", "resume", "home", "placed", "start", "success", "failure", "void", "finish", "undo")
    return [n for n in names if browser.find_element(By.ID, n).is_enabled()] == list(buttons)


@pytest.mark.slow
def test_the_page_in_every_phase_and_size(tmp_path) -> None:
    operator = OperatorState(lost_after=60.0)
    image = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    with PageServer(operator) as server, chromium(tmp_path / "profile") as browser:
        browser.get(server.url)
        until(browser, lambda b: text(b, "link").startswith("connected"), "the link")
        phases = {
            "starting": Question(session="tuesday", total=90, text="The session starts."),
            "stopped": replace(READY, phase="stopped", answers=("clear",), problem="joint 'panda_joint4' is blocked"),
            "paused": replace(READY, phase="paused", answers=("resume",), problem="camera 'front': no frame for 3 s"),
            "homing": replace(READY, phase="homing", answers=("home",), text="The arm is not at home."),
            "placing": replace(READY, phase="placing", answers=("placed", "undo")),
            "ready": READY,
            "running": replace(READY, phase="running", answers=(), text="The policy drives the arm."),
            "verdict": replace(VERDICT, attempt=1, text="How did it end?", problem="The page was lost."),
            "done": Question(
                phase="done", session="tuesday", total=90, text="All trials are done.", answers=("finish", "undo")
            ),
        }
        operator.show_past(PastTrial(11, 0, "success"))
        operator.show_gate("ready", "")
        for phase, question in phases.items():
            operator.ask(question)
            operator.show_frame(draw_ghost(image, CAMERA.resized(240, 320), CUBE, 0.5, 0.1, 0.4))
            until(browser, lambda b, p=phase: b.execute_script("return document.body.dataset.phase") == p, phase)
            until(browser, lambda b, q=question: enabled(b, *q.answers), f"the answers of {phase}")
            for size, (width, height) in SIZES.items():
                browser.set_window_size(width, height)
                assert accessibility_findings(browser) == [], (phase, size)
                wide = browser.execute_script("return document.documentElement.scrollWidth - innerWidth")
                assert wide <= 0, (phase, size)
                scrolled = browser.find_element(By.TAG_NAME, "main").rect
                stop = browser.find_element(By.ID, "stop").rect
                assert scrolled["y"] + scrolled["height"] <= stop["y"], "STOP covers nothing"
                bottom = browser.execute_script("return scrollY + innerHeight")
                assert stop["y"] + stop["height"] <= bottom, "STOP is always in sight"
                assert stop["height"] >= 80
        assert text(browser, "trial") == "All trials done"
        browser.find_element(By.ID, "undo").click()
        until(browser, lambda _: operator.reply() is not None, "the answer")
        assert operator.reply().answer == "undo"
        operator.ask(Question(phase="done", session="tuesday", total=90))
        until(browser, lambda b: text(b, "trial") == "Session finished", "the end")
        errors = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
        assert errors == []


@pytest.mark.slow
@pytest.mark.real_time
def test_an_operator_works_by_keyboard_and_by_click(tmp_path) -> None:
    operator = OperatorState(lost_after=60.0)
    with PageServer(operator) as server, chromium(tmp_path / "profile") as browser:
        operator.ask(READY)
        browser.get(server.url)
        until(browser, lambda b: enabled(b, "start"), "the start button")
        assert text(browser, "trial") == "Trial 12 of 90"
        assert text(browser, "policy") == "Policy B"  # an open session
        assert "x 0.512 m, y -0.100 m" in browser.find_element(By.CLASS_NAME, "place").text
        body = browser.find_element(By.TAG_NAME, "body")
        body.send_keys("1")  # no verdict is asked for yet
        body.send_keys(" ")
        until(browser, lambda _: operator.reply() is not None, "the answer")
        assert operator.reply().answer == "start"
        until(browser, lambda b: enabled(b), "the button to be used up")

        operator.ask(replace(READY, phase="running", answers=()))
        until(browser, lambda b: 0 < float(text(b, "elapsed") or 0) < 2.7, "the clock")
        body.send_keys(Keys.ESCAPE)
        until(browser, lambda _: operator.take_stop(), "STOP by key")
        browser.find_element(By.ID, "stop").click()
        until(browser, lambda _: operator.take_stop(), "STOP by click")

        operator.ask(VERDICT)
        until(browser, lambda b: enabled(b, "success", "failure", "void"), "the verdict's buttons")
        note = browser.find_element(By.ID, "note")
        note.send_keys("3 cm short, 2 tries")  # digits in a note are no verdict
        time.sleep(0.3)
        assert operator.reply() is None
        browser.find_element(By.ID, "failure").click()
        until(browser, lambda _: operator.reply() is not None, "the verdict")
        assert (operator.reply().answer, operator.reply().note) == ("failure", "3 cm short, 2 tries")

        # All of it can be reached by Tab, in the order of the page; STOP is not on that way, but Esc is everywhere
        operator.ask(VERDICT)
        until(browser, lambda b: enabled(b, "success", "failure", "void"), "the next verdict")
        reached = []
        browser.find_element(By.ID, "session").click()  # begin at the top
        for _ in range(12):
            browser.switch_to.active_element.send_keys(Keys.TAB)
            reached.append(browser.switch_to.active_element.get_attribute("id"))
            browser.switch_to.active_element.send_keys(Keys.ESCAPE)
            until(browser, lambda _: operator.take_stop(), f"STOP by Esc from '{reached[-1]}'")
        assert reached[:4] == ["success", "failure", "void", "note"]
        assert "stop" not in reached
        # Nor does the space bar press it after a click
        browser.find_element(By.ID, "stop").click()
        until(browser, lambda _: operator.take_stop(), "STOP by click")
        browser.switch_to.active_element.send_keys(" ")
        time.sleep(0.5)
        assert not operator.take_stop()
        browser.find_element(By.ID, "success").send_keys(Keys.ENTER)
        until(browser, lambda _: operator.reply() is not None, "the verdict by Enter")
        assert operator.reply().answer == "success"


@pytest.mark.slow
@pytest.mark.real_time
def test_a_note_and_a_name_survive_a_reload_and_a_second_tap_finds_no_button(tmp_path) -> None:
    operator = OperatorState(lost_after=60.0)
    operator.show_past(PastTrial(11, 1, "void", "the cable caught"))
    with PageServer(operator) as server, chromium(tmp_path / "profile") as browser:
        operator.ask(replace(READY, phase="placing", answers=("placed",)))
        browser.get(server.url)
        until(browser, lambda b: enabled(b, "placed"), "the object's placement")
        assert text(browser, "phase") == "Place the object"
        assert browser.find_element(By.ID, "past").text == "–11 (attempt 2): void · the cable caught"
        operator.ask(READY)
        until(browser, lambda b: text(b, "phase") == "Ready to start", "the next question")
        shown_at = time.monotonic()
        assert not browser.find_element(By.ID, "start").is_enabled()
        until(browser, lambda b: enabled(b, "start"), "the start button")
        assert time.monotonic() - shown_at > 0.2
        operator.ask(replace(READY, phase="running", answers=(), timeout=60.0))
        until(browser, lambda b: "s left" in text(b, "clock"), "the time left")
        assert 40 < float(text(browser, "elapsed")) <= 60
        operator.ask(VERDICT)
        until(browser, lambda b: enabled(b, "success", "failure", "void"), "the verdict's buttons")
        browser.find_element(By.ID, "note").send_keys("3 cm short")
        browser.find_element(By.ID, "who").click()
        browser.find_element(By.ID, "by").send_keys("Ana 1")  # digits in a name are no verdict
        browser.refresh()
        until(browser, lambda b: enabled(b, "success", "failure", "void"), "the verdict's buttons")
        assert browser.find_element(By.ID, "note").get_attribute("value") == "3 cm short"
        assert text(browser, "who") == "Operator: Ana 1"
        browser.find_element(By.ID, "failure").click()
        until(browser, lambda _: operator.reply() is not None, "the verdict")
        assert (operator.reply().note, operator.reply().by) == ("3 cm short", "Ana 1")
        operator.ask(replace(VERDICT, number=13))
        until(browser, lambda b: enabled(b, "success", "failure", "void"), "the next trial")
        assert browser.find_element(By.ID, "note").get_attribute("value") == ""


@pytest.mark.slow
@pytest.mark.real_time
def test_a_second_rater_judges_on_a_page_of_their_own(tmp_path) -> None:
    operator = OperatorState(lost_after=60.0)
    operator.show_past(PastTrial(11, 0, "success"))
    operator.ask(replace(READY, phase="running", answers=()))
    with PageServer(operator) as server, chromium(tmp_path / "profile") as browser:
        browser.get(server.url)
        until(browser, lambda b: text(b, "phase") == "Arm moves", "the trial")
        browser.find_element(By.ID, "who").click()
        browser.find_element(By.ID, "invite").click()
        size = "return document.getElementById('qr').naturalWidth"
        until(browser, lambda b: b.execute_script(size) > 100, "the QR code")
        browser.find_element(By.ID, "by").send_keys("Ben")
        browser.find_element(By.CSS_SELECTOR, "input[value=second]").click()
        until(browser, lambda b: "Judge what you saw" in text(b, "text"), "the role")
        operator.ask(VERDICT)
        operator.hand_in(operator.state("other")["key"], "failure")
        until(browser, lambda b: enabled(b, "success", "failure"), "the second rater's buttons")
        assert text(browser, "past") == ""
        assert accessibility_findings(browser) == []
        browser.find_element(By.ID, "success").click()
        until(browser, lambda b: enabled(b), "the verdict to be taken")
        browser.find_element(By.ID, "stop").click()
        until(browser, lambda _: operator.take_stop(), "STOP, which everybody has")
    assert operator.take_second_verdicts() == (SecondVerdict(12, 0, True, "Ben"),)
    assert operator.reply().answer == "failure"


@pytest.mark.slow
@pytest.mark.real_time
def test_two_pages_and_a_lost_session_are_shown(tmp_path) -> None:
    operator = OperatorState(lost_after=60.0)
    operator.ask(VERDICT)
    with chromium(tmp_path / "profile") as browser:
        with PageServer(operator) as server:
            browser.get(server.url.replace(server.token, "wrong"))
            until(browser, lambda b: "the token is missing or wrong" in text(b, "link"), "the refusal")
            browser.get(server.url)
            until(browser, lambda b: enabled(b, "success", "failure", "void"), "the buttons")
            operator.state("another tablet")
            until(browser, lambda b: "pages open" in text(b, "link"), "the other page's mention")
            # The other tablet is faster
            operator.hand_in(operator.state("another tablet")["key"], "success")
            until(browser, lambda b: enabled(b), "the buttons to go")
        until(browser, lambda b: text(b, "link") == "no connection to the session", "the lost connection")
        assert text(browser, "phase") == "No connection"
        assert enabled(browser)


@pytest.mark.slow
def test_the_report_opens_offline_and_is_accessible(tmp_path) -> None:
    from tests.support.report_sample import full_report

    write_report(tmp_path / "report.html", full_report())
    with chromium(tmp_path / "profile", offline=True) as browser:
        browser.get((tmp_path / "report.html").as_uri())
        for scheme in ("light", "dark"):
            prefer(browser, scheme)
            for size, (width, height) in SIZES.items():
                browser.set_window_size(width, height)
                assert accessibility_findings(browser) == [], (scheme, size)
        headings = [h.text for h in browser.find_elements(By.TAG_NAME, "h2")]
        for expected in ("Success", "Where it fails", "Simulation against the arm", "Over seeds and tasks"):
            assert expected in headings
        broken = "return [...document.images].filter(i => !i.complete || !i.naturalWidth).length"
        assert browser.execute_script(broken) == 0
        played = "const v = document.querySelector('video'); v.play(); return v.error ? 0 : v.videoWidth"
        until(browser, lambda b: b.execute_script(played) == 64, "the video to play")
        loaded = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
        assert [name for name in loaded if not name.startswith("data:")] == []
        assert [e for e in browser.get_log("browser") if e["level"] == "SEVERE"] == []


@pytest.mark.slow
@pytest.mark.real_time
def test_keys_on_the_page_steer_while_they_are_held(tmp_path) -> None:
    operator = OperatorState()
    operator.steerable = True
    operator.ask(READY)
    with PageServer(operator) as server, chromium(tmp_path / "profile") as browser:
        browser.get(server.url)
        until(browser, lambda b: text(b, "link").startswith("connected"), "the link")

        def steered(*keys: str) -> None:
            until(browser, lambda b: operator.steered()[1] == set(keys), f"{keys} to steer")

        ActionChains(browser).key_down("w").perform()
        steered("w")
        for _ in range(10):
            time.sleep(0.05)
            assert time.monotonic() - operator.steered()[0] < 0.2  # said again and again
        ActionChains(browser).key_down("d").perform()
        steered("w", "d")
        ActionChains(browser).key_up("w").perform()
        steered("d")
        browser.execute_script("window.dispatchEvent(new Event('blur'))")  # another window gets the key's release
        steered()
        browser.find_element(By.ID, "who").click()
        browser.find_element(By.ID, "by").send_keys("wsad")  # typing a name steers nothing
        time.sleep(0.3)
        steered()
