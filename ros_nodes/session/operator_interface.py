"""Who attends a session: nobody, or an operator at the page."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Protocol as Interface

import numpy as np

from evaluation.operator_page.operator_state import Desk, Question, Reply
from evaluation.operator_page.overlay import draw_place
from evaluation.session.protocol import PlannedTrial
from evaluation.session.scheduler import Conduct
from robots.camera import CameraModel
from ros_nodes.session.session_node import SessionNode

FRAME_PERIOD = 0.1
"""Between two pictures for the page [s]."""
PRESSED, LOST = "the operator pressed STOP", "the operator's page was lost"
PREPARE = {
    "virtual": "The virtual arm has put the object to its place. Start when you are ready.",
    "ros": "Put the object where the ring is and step back. The arm is at home. Start when nobody is in reach of it.",
}


class Attendant(Interface):
    """What a session asks of whoever attends it."""

    def serve(self) -> None:
        """Called whenever the session waits."""

    def prepare(self, planned: PlannedTrial, number: int, attempt: int, again: str) -> None:
        """Return when the trial may start; `again` says why it is tried again, if it is."""

    def begin(self, timeout: float) -> None:
        """The trial runs now, for at most `timeout` [s]."""

    def judge(self) -> Reply | None:
        """Return the operator's verdict, or None if nobody judges."""

    def finish(self, text: str) -> None:
        """The session is over."""

    @property
    def stopped(self) -> str:
        """Why the attendant stopped the trial at hand; empty if it did not."""


class Nobody:
    """An unattended session: every trial starts at once, and the task's own measurement counts."""

    stopped = ""

    def serve(self) -> None:
        """Nothing to do."""

    def prepare(self, planned: PlannedTrial, number: int, attempt: int, again: str) -> None:
        """Start at once."""

    def begin(self, timeout: float) -> None:
        """Nothing to show."""

    def judge(self) -> Reply | None:
        """Nobody judges."""
        return None

    def finish(self, text: str) -> None:
        """Nothing to show."""


class Operator:
    """Somebody at the page. Everything happens in the session's thread; the page's threads reach it by the desk."""

    def __init__(self, desk: Desk, node: SessionNode, conduct: Conduct, session: str, total: int, robot: str):
        """Attend the session of `total` trials on `robot`, `virtual` or `ros`."""
        self._desk, self._node, self._conduct = desk, node, conduct
        self._blank = Question(session=session, total=total)
        self._robot = robot
        self._question = self._blank
        self._camera: CameraModel | None = None
        self._next_frame = 0.0
        self._lost = False
        self.stopped = ""
        node.keep_frame = True
        desk.ask(replace(self._blank, text="The session starts."))

    def see_through(self, camera: CameraModel) -> None:
        """Draw the place as `camera`, whose pose is known, sees it."""
        self._camera = camera

    def serve(self) -> None:
        """Pass on STOP, notice a lost page, show gate and camera."""
        if self._desk.take_stop():
            self._stop(PRESSED)
        lost = self._desk.lost
        if lost != self._lost:
            self._lost = lost
            trial = f"trial {self._question.number}, {self._question.phase}"
            self._conduct.log("paused" if lost else "page back", f"{LOST} ({trial})" if lost else trial)
            self._desk.show_problem("The page was lost: the session waits." if lost else "")
        if lost and self._question.phase == "running":
            self._stop(LOST)
        self._desk.show_gate(self._node.gate.state, self._node.gate.reason)
        now = time.monotonic()
        if now >= self._next_frame and self._node.frame is not None:
            self._next_frame = now + FRAME_PERIOD
            self._desk.show_frame(self._overlaid(self._node.frame))

    def prepare(self, planned: PlannedTrial, number: int, attempt: int, again: str) -> None:
        """Ask for the object at its place, and wait for "start"."""
        once_more = f"Once more: the last attempt was void ({again}). " if again else ""
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

    def judge(self) -> Reply | None:
        """Ask for a verdict and wait for it. What the task measured is not shown: it would sway the operator."""
        text = "How did it end? Void repeats the trial: say in the note why."
        self._question = replace(self._question, phase="judge", text=text)
        self._ask()
        return self._answer()

    def finish(self, text: str) -> None:
        """Say that it is over, and give a page that is open time to show it."""
        self._question = replace(self._blank, phase="finished", text=text)
        self._ask()
        self._node.wait(lambda: self._desk.shown or not self._desk.watched, 30.0, "the page to show the end")

    def _ask(self) -> None:
        self._desk.ask(self._question)
        if self._lost:
            self._desk.show_problem("The page was lost: the session waits.")

    def _answer(self) -> Reply:
        self._node.wait(lambda: self._desk.reply() is not None, math.inf, "the operator's answer")
        reply = self._desk.reply()
        assert reply is not None
        return reply

    def _stop(self, why: str) -> None:
        if not self.stopped:
            self.stopped = why
            self._conduct.log("stopped", f"trial {self._question.number}, {self._question.phase}: {why}")
        self._node.request_stop()

    def _overlaid(self, frame: np.ndarray) -> np.ndarray:
        if self._camera is None or not self._question.number:
            return frame
        return draw_place(frame, self._camera, self._question.x, self._question.y, T_base_ee=self._node.ee_pose())
