"""The operator's page: its server over real HTTP, and the page itself in a real browser."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from dataclasses import replace

import numpy as np
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from evaluation.operator_page.operator_state import OperatorError, OperatorState, Question
from evaluation.operator_page.overlay import draw_place
from evaluation.operator_page.server import LARGEST_BODY, PageServer
from evaluation.report.page import write_report
from tests.support.browser import accessibility_findings, chromium, prefer, until
from tests.support.tiny_bundle import CAMERA

READY = Question(
    phase="ready",
    answers=("start",),
    session="tuesday",
    number=12,
    total=90,
    code="B",
    x=0.512,
    y=-0.1,
    timeout=3.0,
    text="Put the object where the ring is and step back.",
)
VERDICT = replace(READY, phase="verdict", answers=("success", "failure", "void"))


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def call(server: PageServer, path: str, body: object = None, token: str | None = None, data: bytes | None = None):
    """Status and content of one request."""
    headers = {"Authorization": f"Bearer {server.token if token is None else token}"}
    payload = data if data is not None else None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", payload, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            content, kind = response.read(), response.headers["Content-Type"]
            return response.status, json.loads(content) if kind == "application/json" else content
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_an_answer_is_taken_once_and_only_for_its_question() -> None:
    operator = OperatorState()
    operator.ask(READY)
    key = operator.state("a")["key"]
    with pytest.raises(OperatorError, match="'success': expected start"):
        operator.hand_in(key, "success")
    operator.hand_in(key, "start")
    with pytest.raises(OperatorError, match="answered already: start"):
        operator.hand_in(key, "start")
    assert operator.state("a")["answers"] == []
    operator.ask(VERDICT)
    assert operator.reply() is None
    with pytest.raises(OperatorError, match="no longer the current question"):
        operator.hand_in(key, "success")
    judged = operator.state("b")
    assert judged["answers"] == ["success", "failure", "void"]
    with pytest.raises(OperatorError, match="2001 characters, at most 2000"):
        operator.hand_in(judged["key"], "void", "n" * 2001)
    operator.hand_in(judged["key"], "void", "  the cable caught  ")
    assert (operator.reply().answer, operator.reply().note) == ("void", "the cable caught")


def test_an_answer_that_lets_the_arm_move_needs_an_open_page() -> None:
    clock = Clock()
    operator = OperatorState(lost_after=5.0, clock=clock)
    for phase, answer in (("stopped", "clear"), ("homing", "home"), ("ready", "start"), ("paused", "resume")):
        operator.ask(replace(READY, phase=phase, answers=(answer,)))
        key = operator.state("a")["key"]
        clock.now += 5.1
        with pytest.raises(OperatorError, match=f"'{answer}': no page is open"):
            operator.hand_in(key, answer)
        operator.state("a")
        operator.hand_in(key, answer)
        assert operator.reply().answer == answer


def test_stop_needs_no_key_and_is_taken_once() -> None:
    operator = OperatorState()
    operator.hand_in("", "stop")
    assert operator.take_stop()
    assert not operator.take_stop()


def test_an_operator_is_lost_when_the_last_page_falls_silent() -> None:
    clock = Clock()
    operator = OperatorState(lost_after=5.0, clock=clock)
    clock.now += 100
    assert not operator.lost  # nobody has come yet
    operator.state("a")
    clock.now += 3
    operator.state("b")
    clock.now += 3
    assert not operator.lost
    assert operator.state("b")["pages"] == 1
    clock.now += 5.1
    assert operator.lost
    operator.state("a")
    assert not operator.lost


def test_the_server_wants_its_token_and_says_what_is_wrong() -> None:
    operator = OperatorState()
    operator.ask(READY)
    with PageServer(operator) as server:
        assert server.host == "127.0.0.1"
        for path in ("/state", "/camera.jpg", "/secret"):
            status, said = call(server, path, token="wrong")
            assert status == 403
            assert "open the address that the session printed" in said["error"]
        assert call(server, "/answer", {"key": "", "answer": "stop"}, token="")[0] == 403
        assert not operator.take_stop()
        assert call(server, "/secret")[0] == 404
        assert call(server, "/../operator.py")[0] == 404
        assert call(server, "/camera.jpg")[0] == 404  # no picture yet
        status, state = call(server, "/state?client=a")
        assert (status, state["number"], state["total"], state["code"]) == (200, 12, 90, "B")
        for data in (b"", b"no json", b"[]", b'{"key": 1, "answer": "start"}'):
            assert call(server, "/answer", data=data)[0] == 400, data
        assert call(server, "/answer", data=b"x" * (LARGEST_BODY + 1))[0] == 413
        status, said = call(server, "/answer", {"key": "old", "answer": "start"})
        assert status == 409
        assert "no longer the current question" in said["error"]
        assert call(server, "/answer", {"key": state["key"], "answer": "start"}) == (200, {"taken": "start"})
        assert operator.reply().answer == "start"
        operator.show_frame(np.zeros((24, 32, 3), np.uint8))
        status, jpeg = call(server, "/camera.jpg")
        assert status == 200
        assert jpeg.startswith(b"\xff\xd8\xff")
        with pytest.raises(OperatorError, match=r"cannot listen on 127\.0\.0\.1"):
            PageServer(operator, port=server.port)
    with PageServer(operator) as another:
        assert another.token != server.token


def test_one_of_many_clicks_at_once_is_taken() -> None:
    operator = OperatorState()
    operator.ask(READY)
    with PageServer(operator) as server:
        key = operator.state("a")["key"]
        statuses: list[int] = []
        clicks = [
            threading.Thread(
                target=lambda: statuses.append(call(server, "/answer", {"key": key, "answer": "start"})[0])
            )
            for _ in range(12)
        ]
        for click in clicks:
            click.start()
        for click in clicks:
            click.join()
    assert sorted(statuses) == [200] + [409] * 11


def test_the_ring_is_where_the_camera_sees_the_place() -> None:
    image = np.full((84, 84, 3), 90, np.uint8)
    x, y = 0.5, 0.1
    shown = draw_place(image, CAMERA, x, y)
    scale = shown.shape[0] // 84
    assert scale == round(480 / 84)
    yellow = (np.abs(shown.astype(int) - (255, 214, 0)).max(axis=2) < 40).nonzero()
    centre = np.array([yellow[1].mean(), yellow[0].mean()])
    expected = (CAMERA.project(np.array([[x, y, 0.0]]))[0] + 0.5) * scale - 0.5
    np.testing.assert_allclose(centre, expected, atol=3.0)
    assert (image == 90).all()
    behind = draw_place(image, CAMERA, 5.0, 0.0)
    assert (behind == 90).all()


# From here on in a browser

SIZES = {"tablet": (820, 1180), "laptop": (1366, 768)}


def text(browser, element: str) -> str:
    return browser.find_element(By.ID, element).text


def enabled(browser, *buttons: str) -> bool:
    names = ("clear", "resume", "home", "placed", "start", "success", "failure", "void")
    return [n for n in names if browser.find_element(By.ID, n).is_enabled()] == list(buttons)


@pytest.mark.slow
@pytest.mark.real_time
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
            "placing": replace(READY, phase="placing", answers=("placed",)),
            "ready": READY,
            "running": replace(READY, phase="running", answers=(), text="The policy drives the arm."),
            "verdict": replace(VERDICT, attempt=1, text="How did it end?", problem="The page was lost."),
            "done": Question(phase="done", session="tuesday", total=90, text="All trials are done."),
        }
        operator.show_gate("ready", "")
        for phase, question in phases.items():
            operator.ask(question)
            operator.show_frame(draw_place(image, CAMERA.resized(240, 320), 0.5, 0.1))
            until(browser, lambda b, p=phase: b.execute_script("return document.body.dataset.phase") == p, phase)
            until(browser, lambda b, q=question: enabled(b, *q.answers), f"the answers of {phase}")
            for size, (width, height) in SIZES.items():
                browser.set_window_size(width, height)
                assert accessibility_findings(browser) == [], (phase, size)
                wide = browser.execute_script("return document.documentElement.scrollWidth - innerWidth")
                assert wide <= 0, (phase, size)
                stop = browser.find_element(By.ID, "stop").rect
                bottom = browser.execute_script("return scrollY + innerHeight")
                assert stop["y"] + stop["height"] <= bottom, "STOP is always in sight"
                assert stop["height"] >= 80
        assert text(browser, "trial") == "Session finished"
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
        assert text(browser, "policy") == "Policy B"
        assert "x 0.512 m, y -0.100 m" in browser.find_element(By.CLASS_NAME, "place").text
        body = browser.find_element(By.TAG_NAME, "body")
        body.send_keys("1")  # no verdict is asked for yet
        body.send_keys(" ")
        until(browser, lambda _: operator.reply() is not None, "the answer")
        assert operator.reply().answer == "start"
        until(browser, lambda b: enabled(b), "the button to be used up")

        operator.ask(replace(READY, phase="running", answers=()))
        until(browser, lambda b: float(text(b, "elapsed")) > 0.3, "the clock")
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

        # All of it can be reached by Tab, in the order of the page
        operator.ask(VERDICT)
        until(browser, lambda b: enabled(b, "success", "failure", "void"), "the next verdict")
        reached = []
        browser.execute_script("document.activeElement.blur()")
        for _ in range(8):
            browser.switch_to.active_element.send_keys(Keys.TAB)
            reached.append(browser.switch_to.active_element.get_attribute("id"))
        assert {"success", "failure", "void", "note", "stop"} <= set(reached)
        browser.find_element(By.ID, "success").send_keys(Keys.ENTER)
        until(browser, lambda _: operator.reply() is not None, "the verdict by Enter")
        assert operator.reply().answer == "success"


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
        assert enabled(browser)


@pytest.mark.slow
@pytest.mark.real_time
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
        loaded = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
        assert [name for name in loaded if not name.startswith("data:")] == []
        assert [e for e in browser.get_log("browser") if e["level"] == "SEVERE"] == []
