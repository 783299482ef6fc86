"""The operator's page: its server over real HTTP, and the page itself in a real browser."""

from __future__ import annotations

import io
import itertools
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import replace

import cv2
import numpy as np
import pytest
import segno
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from evaluation.operator_page.address import ADDRESS, open_page
from evaluation.operator_page.operator_state import OperatorError, OperatorState, PastTrial, Question, SecondVerdict
from evaluation.operator_page.overlay import draw_ghost
from evaluation.operator_page.server import LARGEST_BODY, PageServer
from evaluation.report.page import write_report
from sim.scene import RigidBody, Shape
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
    text="Put the object into the yellow outline and step back.",
)
CUBE = RigidBody("object", (Shape("box", (0.04, 0.04, 0.04)),))
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


@pytest.mark.real_time
def test_two_hundred_pages_do_not_delay_stop(capsys) -> None:
    """Each polls state and images as the page does; STOP goes through from the click to the session's thread."""
    operator = OperatorState()
    operator.ask(replace(READY, phase="running", answers=()))
    image = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    with PageServer(operator) as server:
        operator.show_frame(image)
        command = [sys.executable, "-m", "tests.support.many_pages", str(server.port), server.token, "200"]
        pages = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert pages.stdout.readline() == "started\n"
            delays, begun = [], time.monotonic()
            until_all = time.monotonic() + 20
            while len(operator._watching()) < 200:
                assert time.monotonic() < until_all, len(operator._watching())
                time.sleep(0.05)
            for press in range(25):
                operator.show_frame(np.roll(image, press, axis=0))
                taken: list[float] = []

                def session(taken: list[float] = taken) -> None:
                    deadline = time.monotonic() + 5
                    while not operator.take_stop() and time.monotonic() < deadline:
                        time.sleep(0.005)
                    taken.append(time.monotonic())

                waiting = threading.Thread(target=session)
                waiting.start()
                pressed = time.monotonic()
                assert call(server, "/answer", {"key": "", "answer": "stop"}) == (200, {"taken": "stop"})
                waiting.join()
                delays.append(taken[0] - pressed)
                time.sleep(0.1)
            served, failed, why = pages.communicate("\n", timeout=30)[0].split(" ", 2)
        finally:
            pages.kill()
            pages.wait()
    rate = int(served) / (time.monotonic() - begun)
    with capsys.disabled():
        median, most = 1e3 * np.median(delays), 1e3 * max(delays)
        print(f"\n200 pages, {rate:.0f} requests/s: STOP after {median:.0f} ms, at most {most:.0f} ms")
    assert failed == "0", why
    assert rate > 200
    assert max(delays) < 0.1


def marked(shown: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Whether each pixel was painted over."""
    enlarged = cv2.resize(image, shown.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.abs(shown.astype(int) - enlarged).max(axis=2) > 25


@pytest.mark.parametrize("yaw", [0.0, 0.6, -2.0])
def test_the_ghost_covers_what_the_camera_would_see_of_the_object(yaw: float) -> None:
    image = np.full((84, 84, 3), 90, np.uint8)
    x, y, (length, width, height) = 0.5, 0.1, (0.08, 0.04, 0.05)
    body = RigidBody("object", (Shape("box", (length, width, height)),))
    shown = draw_ghost(image, CAMERA, body, x, y, yaw)
    scale = shown.shape[0] // 84
    assert scale == round(480 / 84)
    turned = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])

    def seen(points: np.ndarray) -> np.ndarray:
        return (CAMERA.project(points @ turned.T + (x, y, height / 2)) + 0.5) * scale - 0.5

    corners = np.array(list(itertools.product((-0.5, 0.5), repeat=3))) * (length, width, height)
    silhouette = np.zeros(shown.shape[:2], np.uint8)
    cv2.fillConvexPoly(silhouette, cv2.convexHull(np.round(seen(corners)).astype(np.int32)), 1)
    painted = marked(shown, image)
    painted[: int(0.4 * len(painted)) + 2] = False  # the close-up
    assert painted[cv2.erode(silhouette, np.ones((3, 3), np.uint8)) > 0].all()
    # Beyond it there is only the arrow, on the side of the object's front
    outside = np.argwhere(painted & (cv2.dilate(silhouette, np.ones((11, 11), np.uint8)) == 0))[:, ::-1]
    top, front = seen(np.array([[0, 0, height / 2], [1.1 * length, 0, height / 2]]))
    u, v = np.round(front).astype(int)
    assert painted[v - 2 : v + 3, u - 2 : u + 3].any()
    assert (np.linalg.norm(outside - front, axis=1) < 0.5 * np.linalg.norm(front - top)).all()
    assert (image == 90).all()


def test_two_turns_look_different_and_an_open_one_is_round() -> None:
    image = np.full((84, 84, 3), 90, np.uint8)
    body = RigidBody("object", (Shape("box", (0.04, 0.04, 0.04)),))
    straight, turned, any_turn = (draw_ghost(image, CAMERA, body, 0.5, 0.1, yaw) for yaw in (0.0, np.pi / 2, None))
    assert np.abs(straight.astype(int) - turned).max() > 60  # a cube looks the same, but for its front
    np.testing.assert_array_equal(any_turn, draw_ghost(image, CAMERA, body, 0.5, 0.1, None))
    assert marked(any_turn, image).sum() > 0.7 * marked(straight, image).sum()


def test_a_small_object_is_shown_larger_in_the_farther_corner() -> None:
    image = np.random.default_rng(0).integers(60, 120, (480, 640, 3), np.uint8)
    for y, left in ((0.2, 0), (-0.2, 640 - 192)):
        shown = draw_ghost(image, CAMERA.resized(480, 640), CUBE, 0.5, y, 0.4)
        close_up = marked(shown, image)[:192, left : left + 192]
        assert close_up.mean() > 0.2  # its pixels are others now
        yellow = np.argwhere((shown[:192, left : left + 192, 0] > 200) & (shown[:192, left : left + 192, 2] < 80))
        assert np.ptp(yellow[:, 1]) > 60
        assert not marked(shown, image)[:192, 320 if left == 0 else 0 : 640 if left == 0 else 320].any()
    near = RigidBody("object", (Shape("box", (0.3, 0.3, 0.3)),))
    assert not marked(draw_ghost(image, CAMERA.resized(480, 640), near, 0.5, 0.0, 0.4), image)[:10, :150].any()


def test_a_place_outside_the_image_leaves_it_as_it_is() -> None:
    image = np.full((84, 84, 3), 90, np.uint8)
    body = RigidBody("object", (Shape("cylinder", (0.02, 0.1)), Shape("sphere", (0.02,))))
    assert (draw_ghost(image, CAMERA, body, 5.0, 0.0, 0.3) == 90).all()
    assert marked(draw_ghost(image, CAMERA, body, 0.5, 0.0, 0.3), image).any()


def test_a_second_rater_is_asked_once_and_told_nothing() -> None:
    operator = OperatorState()
    operator.show_past(PastTrial(11, 0, "success"))
    operator.ask(replace(READY, phase="running", answers=()))
    assert operator.state("b", second=True)["second"] == ""
    assert (operator.watched, operator.second_awaited) == (False, False)  # nobody who may start the arm
    operator.ask(VERDICT)
    assert operator.second_awaited
    operator.hand_in(operator.state("a")["key"], "failure", "short", "Ana")
    assert operator.reply().by == "Ana"
    state = operator.state("b", second=True)
    assert (state["answered"], state["past"]) == ("", [])
    assert operator.state("a")["past"] == [{"number": 11, "attempt": 0, "verdict": "success", "note": ""}]
    with pytest.raises(OperatorError, match="success or failure"):
        operator.hand_in_second(state["second"], "void")
    with pytest.raises(OperatorError, match="81 characters"):
        operator.hand_in_second(state["second"], "success", "n" * 81)
    operator.ask(replace(READY, number=13))  # the session goes on, and waits for nobody
    operator.hand_in_second(state["second"], "success", " Ben ")
    with pytest.raises(OperatorError, match="no longer open"):
        operator.hand_in_second(state["second"], "failure", "Ben")
    assert operator.take_second_verdicts() == (SecondVerdict(12, 0, True, "Ben"),)
    assert operator.take_second_verdicts() == ()
    operator.ask(replace(VERDICT, number=13))
    late = operator.state("b", second=True)["second"]
    operator.ask(replace(READY, number=14, phase="running"))
    with pytest.raises(OperatorError, match="no longer open"):
        operator.hand_in_second(late, "success")


def test_the_time_left_follows_from_the_trials_so_far() -> None:
    clock = Clock()
    operator = OperatorState(clock=clock)
    for number, lasted in ((1, 30.0), (2, 20.0), (3, 40.0)):
        operator.ask(replace(READY, number=number, total=10))
        assert operator.state("a")["left_s"] is None or number == 3
        operator.ask(replace(VERDICT, number=number, total=10))
        clock.now += lasted
    operator.ask(replace(READY, number=4, total=10))
    assert operator.state("a")["left_s"] == 30 * 7


def test_an_undone_trial_is_listed_once() -> None:
    operator = OperatorState()
    for trial in (PastTrial(1, 0, "success", "well"), PastTrial(2, 0, "failure"), PastTrial(1, 0, "undone")):
        operator.show_past(trial)
    assert [(t["number"], t["verdict"], t["note"]) for t in operator.state("a")["past"]] == [
        (2, "failure", ""),
        (1, "undone", ""),
    ]


def test_the_address_stays_the_same_when_a_session_goes_on(tmp_path) -> None:
    with open_page(OperatorState(), tmp_path / "session", "127.0.0.1", 0) as first:
        url = first.url
    assert (tmp_path / "session" / ADDRESS).stat().st_mode & 0o077 == 0
    with open_page(OperatorState(), tmp_path / "session", "127.0.0.1", 0) as again:
        assert again.url == url
        assert call(again, "/state?client=a")[0] == 200
        with open_page(OperatorState(), tmp_path / "session", "127.0.0.1", 0) as moved:  # the port is taken
            assert (moved.token, moved.port != again.port) == (again.token, True)
    with open_page(OperatorState(), tmp_path / "another", "127.0.0.1", 0) as other:
        assert other.token != first.token
    (tmp_path / "session" / ADDRESS).write_text('{"port": 70000, "token": ""}')
    with pytest.raises(OperatorError, match=r"page\.json' is damaged: .*remove it"):
        open_page(OperatorState(), tmp_path / "session", "127.0.0.1", 0)


def test_the_qr_code_holds_the_address_by_which_the_page_was_reached() -> None:
    with PageServer(OperatorState()) as server:
        assert call(server, "/qr.svg", token="wrong")[0] == 403
        status, svg = call(server, "/qr.svg")
        expected = io.BytesIO()
        segno.make(server.url, error="m").save(expected, kind="svg", scale=4, border=4, light="white")
        assert (status, svg) == (200, expected.getvalue())
        # What a camera reads
        drawn = io.BytesIO()
        segno.make(server.url, error="m").save(drawn, kind="png", scale=6, border=4)
        image = cv2.imdecode(np.frombuffer(drawn.getvalue(), np.uint8), cv2.IMREAD_COLOR)
        assert cv2.QRCodeDetector().detectAndDecode(image)[0] == server.url


def test_stop_is_served_where_no_further_page_is(monkeypatch) -> None:
    monkeypatch.setattr("evaluation.operator_page.server.MOST_CONNECTIONS", 5)
    operator = OperatorState()
    with PageServer(operator) as server:
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(6)]
        status, said = call(server, "/state?client=a")
        assert (status, said["error"]) == (503, "more than 5 connections; close some pages")
        assert call(server, "/answer", {"key": "", "answer": "stop"})[0] == 200
        assert operator.take_stop()
        for each in idle:
            each.close()


def test_a_client_that_sends_no_request_holds_nobody_up(monkeypatch) -> None:
    monkeypatch.setattr("evaluation.operator_page.server.PATIENCE", 0.5)
    operator = OperatorState()
    with PageServer(operator) as server:
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
        idle[0].sendall(b"POST /answer HTTP/1.1\r\nContent-Length: 50\r\n\r\nhalf")
        idle[1].sendall(b"nonsense\r\n\r\n")
        assert idle[1].recv(100).startswith(b"HTTP/1.0 400")
        begun = time.monotonic()
        assert call(server, "/answer", {"key": "", "answer": "stop"})[0] == 200
        assert time.monotonic() - begun < 0.3
        assert operator.take_stop()
        assert idle[2].recv(100) == b""  # let go after a while
        for each in idle:
            each.close()


# From here on in a browser

SIZES = {"tablet": (820, 1180), "laptop": (1366, 768)}


def text(browser, element: str) -> str:
    return browser.find_element(By.ID, element).text


def enabled(browser, *buttons: str) -> bool:
    names = ("clear", "resume", "home", "placed", "start", "success", "failure", "void", "finish", "undo")
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
        played = "const v = document.querySelector('video'); v.play(); return v.error ? 0 : v.videoWidth"
        until(browser, lambda b: b.execute_script(played) == 64, "the video to play")
        loaded = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
        assert [name for name in loaded if not name.startswith("data:")] == []
        assert [e for e in browser.get_log("browser") if e["level"] == "SEVERE"] == []
