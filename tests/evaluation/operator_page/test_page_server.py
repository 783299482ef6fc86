"""The server of the operator's page over real HTTP, and the state that it shows."""

from __future__ import annotations

import io
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

from evaluation.operator_page.address import ADDRESS, open_page
from evaluation.operator_page.operator_state import OperatorError, OperatorState, PastTrial, SecondVerdict
from evaluation.operator_page.server import LARGEST_BODY, PageServer
from tests.support.operator_questions import READY, VERDICT


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


def test_a_page_shows_what_a_policy_warns_of() -> None:
    operator = OperatorState()
    assert operator.state("a")["warning"] == ""
    operator.show_warning("camera 'side' has probably been moved")
    assert operator.state("a")["warning"] == "camera 'side' has probably been moved"


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
