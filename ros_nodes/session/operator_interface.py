"""Operator interface of a session: none, or the operator's page."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Protocol as Interface

import numpy as np

from evaluation.operator_page.operator_state import OperatorState, Question, Reply
from evaluation.operator_page.overlay import draw_place
from evaluation.session.protocol import PlannedTrial
from evaluation.session.scheduler import TrialScheduler
from robots.camera import CameraModel
from ros_nodes.session.session_node import SessionNode

FRAME_PERIOD = 0.1
"""Between two images for the page [s]."""
PRESSED, LOST = "the operator pressed STOP", "the operator's page was lost"
PREPARE = {
    "virtual": "The virtual arm has put the object to its place. Start when you are ready.",
    "ros": "Put the object where the ring is and step back. The arm is at home. Start when nobody is in reach of it.",
}


class OperatorInterface(Interface):
    """Starts and judges the trials of a session."""

    def update(self) -> None:
        """Called again and again while the session waits."""

    def prepare(self, planned: PlannedTrial, number: int, attempt: int, void_reason: str) -> None:
        """Return when the trial may start; `void_reason` is that of its last attempt, if there was one."""

    def begin(self, timeout: float) -> None:
        """The trial runs now, for at most `timeout` [s]."""

    def verdict(self) -> Reply | None:
        """Return the operator's verdict, or None without an operator."""

    def finish(self, text: str) -> None:
        """The session is over."""

    @property
    def stopped(self) -> str:
        """Why the operator stopped the current trial; empty otherwise."""


class Unattended:
    """No operator: every trial starts at once, and the task's own measurement decides."""

    stopped = ""

    def update(self) -> None:
        """Nothing to do."""

    def prepare(self, planned: PlannedTrial, number: int, attempt: int, void_reason: str) -> None:
        """Start at once."""

    def begin(self, timeout: float) -> None:
        """Nothing to show."""

    def verdict(self) -> Reply | None:
        """Return None."""
        return None

    def finish(self, text: str) -> None:
        """Nothing to show."""


class PageInterface:
    """An operator at the page. Runs in the session's thread; the page's threads share the `OperatorState`."""

    def __init__(self, state: OperatorState, node: SessionNode, scheduler: TrialScheduler, robot: str):
        """Serve the session of `scheduler` on `robot`, `virtual` or `ros`."""
        self._state, self._node, self._scheduler = state, node, scheduler
        self._blank = Question(session=scheduler.protocol.name, total=scheduler.progress.planned)
        self._robot = robot
        self._question = self._blank
        self._camera: CameraModel | None = None
        self._next_frame = 0.0
        self._lost = False
        self.stopped = ""
        node.keep_frame = True
        state.ask(replace(self._blank, text="The session starts."))

    def set_camera(self, camera: CameraModel) -> None:
        """Draw the object's place into the images of `camera`, whose pose is known."""
        self._camera = camera

    def update(self) -> None:
        """Pass on STOP, notice a lost page, show gate and camera."""
        if self._state.take_stop():
            self._stop(PRESSED)
        lost = self._state.lost
        if lost != self._lost:
            self._lost = lost
            trial = f"trial {self._question.number}, {self._question.phase}"
            self._scheduler.log("paused" if lost else "page back", f"{LOST} ({trial})" if lost else trial)
            self._state.show_problem("The page was lost: the session waits." if lost else "")
        if lost and self._question.phase == "running":
            self._stop(LOST)
        self._state.show_gate(self._node.gate.state, self._node.gate.reason)
        now = time.monotonic()
        if now >= self._next_frame and self._node.frame is not None:
            self._next_frame = now + FRAME_PERIOD
            self._state.show_frame(self._overlaid(self._node.frame))

    def prepare(self, planned: PlannedTrial, number: int, attempt: int, void_reason: str) -> None:
        """Ask for the object at its place, and wait for "start"."""
        once_more = f"Once more: the last attempt was void ({void_reason}). " if void_reason else ""
        self._question = replace(
            self._blank,
            phase="prepare",
            number=number,
            attempt=attempt,
            code=planned.code,
            x=planned.initial["x"],
            y=planned.initial["y"],
            text=once_more + PREPARE[self._robot],
        )
        self._ask()
        self._answer()
        self.stopped = ""

    def begin(self, timeout: float) -> None:
        """Show that the arm moves."""
        text = "The policy drives the arm. Keep a hand at STOP."
        self._question = replace(self._question, phase="running", timeout=timeout, text=text)
        self._ask()

    def verdict(self) -> Reply | None:
        """Ask for a verdict and wait for it. The task's measurement is not shown, as it would bias the operator."""
        text = "How did it end? Void repeats the trial: say in the note why."
        self._question = replace(self._question, phase="verdict", text=text)
        self._ask()
        return self._answer()

    def finish(self, text: str) -> None:
        """Show that it is over, and give an open page time to do so."""
        self._question = replace(self._blank, phase="finished", text=text)
        self._ask()
        self._node.wait(lambda: self._state.shown or not self._state.watched, 30.0, "the page to show the end")

    def _ask(self) -> None:
        self._state.ask(self._question)
        if self._lost:
            self._state.show_problem("The page was lost: the session waits.")

    def _answer(self) -> Reply:
        self._node.wait(lambda: self._state.reply() is not None, math.inf, "the operator's answer")
        reply = self._state.reply()
        assert reply is not None
        return reply

    def _stop(self, why: str) -> None:
        if not self.stopped:
            self.stopped = why
            self._scheduler.log("stopped", f"trial {self._question.number}, {self._question.phase}: {why}")
        self._node.request_stop()

    def _overlaid(self, frame: np.ndarray) -> np.ndarray:
        if self._camera is None or not self._question.number:
            return frame
        return draw_place(frame, self._camera, self._question.x, self._question.y, T_base_ee=self._node.ee_pose())
