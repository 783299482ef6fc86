"""Operator interface of a session: none, or the operator's page.

The session asks before every motion; with an operator, each motion needs an answer that names it, and a stop that the
gate has latched is cleared by an answer to the question that shows its reason.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Protocol as Interface

import numpy as np

from evaluation.operator_page.operator_state import Answer, OperatorState, PastTrial, Phase, Question, Reply
from evaluation.operator_page.overlay import draw_ghost
from evaluation.session.protocol import PlannedTrial
from evaluation.session.scheduler import BY_OPERATOR, TrialScheduler
from evaluation.session.store import UNDONE
from policies.bundle.things import ON
from robots.camera import CameraModel
from ros_nodes.session.session_node import SessionError, SessionNode
from sim.catalogue import parameter_space
from sim.scene import RigidBody
from sim.tasks import load_task

FRAME_PERIOD = 0.1
"""Between two images for the page [s]."""
STOP_PERIOD = 0.1
"""Between two requests to stop, until the gate reports that it does [s]."""
LAST_VERDICT = 30.0
"""Longest that the end waits for a page to show it, and for a second rater's last verdict [s]."""
PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Without an operator: how long each pause in a row lasts [s]; the next one ends the session."""
PRESSED, LOST = "the operator pressed STOP", "the operator's page was lost"
NODE = re.compile(r"/?\bpolicy_\d+\b")
"""Names of the policies' nodes, which would tell an operator which one drives."""
MOVING: tuple[Phase, ...] = ("homing", "running")
"""Phases in which the loss of the page stops the arm."""
UNDO: tuple[Phase, ...] = ("homing", "placing", "ready", "stopped", "paused", "done")
"""Phases in which the last verdict can be undone, while they wait for an answer."""
HOW = "How did it end? Void repeats the trial: say in the note why."


class Undo(Exception):
    """The operator wants to undo the last verdict."""

    def __init__(self, by: str):
        """Keep who asked for it."""
        super().__init__(f"undo, by '{by}'")
        self.by = by


class OperatorInterface(Interface):
    """Clears stops, starts and judges the trials of a session. What waits before a trial may raise `Undo`."""

    def update(self) -> None:
        """Called again and again while the session waits."""

    def take_up(self, planned: PlannedTrial, number: int, attempt: int, void_reason: str) -> None:
        """The next trial is `planned`; `void_reason` is that of its last attempt, if there was one."""

    def clear_stop(self, reason: str) -> None:
        """Return when a person has read the `reason` of the gate's latched stop and wants it cleared."""

    def pause(self, reason: str) -> None:
        """Return when the session may go on after a failure of the machinery.

        Raises:
            SessionError: with `reason`, if nobody can tell.
        """

    def move_home(self) -> bool:
        """Return True when the arm may move home, False if it was stopped meanwhile."""

    def placing(self) -> None:
        """The object is being placed."""

    def prepare(self) -> bool:
        """Return True when the object is placed and the trial may start, False if the arm was stopped meanwhile."""

    def begin(self, timeout: float) -> None:
        """The trial runs now, for at most `timeout` [s]."""

    def verdict(self, text: str = HOW) -> Reply | None:
        """Ask `text` and return the operator's verdict, or None without an operator."""

    def conclude(self) -> None:
        """Return when the last verdict stands."""

    def finish(self, text: str) -> None:
        """The session is over."""

    @property
    def stopped(self) -> str:
        """Why the operator stopped the arm, until the stop is cleared; empty otherwise."""


class Unattended:
    """No operator, for the virtual arm alone: its stops hurt nobody, and the task's own measurement decides."""

    stopped = ""

    def __init__(self, sleep: Callable[[float], None]):
        """Prepare; `sleep` processes messages for so many seconds."""
        self._sleep = sleep
        self._pauses = 0

    def update(self) -> None:
        """Nothing to do."""

    def take_up(self, planned: PlannedTrial, number: int, attempt: int, void_reason: str) -> None:
        """Begin to count pauses anew with a new trial."""
        if not attempt:
            self._pauses = 0

    def clear_stop(self, reason: str) -> None:
        """Clear at once."""

    def pause(self, reason: str) -> None:
        """Wait a little, longer each time in a row."""
        if self._pauses == len(PAUSES):
            raise SessionError(f"{reason}; it did so {self._pauses + 1} times in a row: the same command goes on")
        self._sleep(PAUSES[self._pauses])
        self._pauses += 1

    def move_home(self) -> bool:
        """Allow it."""
        return True

    def placing(self) -> None:
        """Nothing to show."""

    def prepare(self) -> bool:
        """Start at once."""
        return True

    def begin(self, timeout: float) -> None:
        """Nothing to show."""

    def verdict(self, text: str = HOW) -> Reply | None:
        """Return None."""
        return None

    def conclude(self) -> None:
        """Nobody gave a verdict."""

    def finish(self, text: str) -> None:
        """Nothing to show."""


class PageInterface:
    """An operator at the page. Runs in the session's thread; the page's threads share the `OperatorState`."""

    def __init__(self, state: OperatorState, node: SessionNode, scheduler: TrialScheduler, robot: str):
        """Serve the session of `scheduler` on `robot`, `virtual` or `ros`."""
        self._state, self._node, self._scheduler = state, node, scheduler
        self._blank = Question(session=scheduler.protocol.name, total=scheduler.progress.planned)
        self._places_by_hand = robot == "ros"
        handled = scheduler.protocol.thing.split(ON)[0]
        self._object = f"the {handled} object, alone of its colour," if handled else "the object"
        self._question = self._blank
        self._once_more = ""
        self._camera: CameraModel | None = None
        self._next_frame = self._next_stop = 0.0
        self._lost = False
        self.stopped = ""
        node.keep_frame = True
        numbers = {(t.policy, t.index): n for n, t in enumerate(scheduler.protocol.schedule(), start=1)}
        for t in scheduler.trials():
            self._list(numbers[t.policy, t.index], t.attempt, t.operator, t.void_reason, t.operator_note)
        self._ask("starting", "The session starts.")

    def set_camera(self, camera: CameraModel) -> None:
        """Draw the object as it belongs into the images of `camera`, whose pose is known."""
        task = load_task(self._scheduler.protocol.task)
        bodies = task.bodies(parameter_space(task, self._node.robot).nominal())
        self._ghost: RigidBody = next(body for body in bodies if body.name == task.placed_body)
        self._camera = camera

    def update(self) -> None:
        """Pass on STOP until the gate stops, notice a lost page, show gate and camera."""
        now = time.monotonic()
        why = PRESSED if self._state.take_stop() else ""
        lost = self._state.lost
        if lost and self._question.phase in MOVING and not self._question.answers:
            why = why or LOST
        fresh = bool(why) and not self.stopped
        self.stopped = self.stopped or why
        if self.stopped and self._node.gate.state not in ("stopping", "stopped") and now >= self._next_stop:
            self._next_stop = now + STOP_PERIOD
            self._node.request_stop()
        trial = f"trial {self._question.number}, {self._question.phase}"
        if fresh:
            self._scheduler.log("stopped", f"{trial}: {self.stopped}")
        if lost != self._lost:
            self._lost = lost
            self._scheduler.log("paused" if lost else "page back", f"{LOST} ({trial})" if lost else trial)
        for second in self._state.take_second_verdicts():
            self._scheduler.log("second verdict", json.dumps(asdict(second)))
        self._state.show_gate(self._node.gate.state, self._blind(self._node.gate.reason))
        self._state.show_warning(self._blind(self._node.policy_warning))
        if now >= self._next_frame and self._node.frame is not None:
            self._next_frame = now + FRAME_PERIOD
            self._state.show_frame(self._overlaid(self._node.frame))

    def take_up(self, planned: PlannedTrial, number: int, attempt: int, void_reason: str) -> None:
        """Set what the page shows of the trial."""
        self._once_more = f"Once more: the last attempt was void ({self._blind(void_reason)}). " if void_reason else ""
        if void_reason and not void_reason.startswith(BY_OPERATOR):  # else it is listed with its verdict
            self._list(number, attempt - 1, None, void_reason, "")
        x, y = planned.initial["x"], planned.initial["y"]
        # The virtual arm draws the object's turn itself
        yaw = planned.yaw if self._places_by_hand else None
        self._question = replace(self._blank, number=number, attempt=attempt, code=planned.code, x=x, y=y, yaw=yaw)

    def clear_stop(self, reason: str) -> None:
        """Show why the arm was stopped, and wait for "clear"."""
        text = "Look at the arm. Clear the stop when its reason is gone and nobody is in reach; nothing moves yet."
        self._answer("stopped", text, "clear", problem=reason, whatever_the_gate=True)
        self._scheduler.log("stop cleared", f"trial {self._question.number}: {reason}")
        self.stopped = ""

    def pause(self, reason: str) -> None:
        """Show what failed, and wait for "resume"."""
        self._scheduler.log("paused", f"trial {self._question.number}: {reason}")
        text = "The session pauses. Resume when the fault is mended."
        self._answer("paused", text, "resume", problem=reason, whatever_the_gate=True)
        self._scheduler.log("resumed", f"trial {self._question.number}")

    def move_home(self) -> bool:
        """Wait for "home", then show that the arm moves."""
        text = "The arm is not at home. Move it home when nobody is in reach of it."
        if self._answer("homing", text, "home") is None:
            return False
        self._ask("homing", "The arm moves home, slowly. Keep a hand at STOP.")
        return True

    def placing(self) -> None:
        """Show where the object belongs."""
        self._ask("placing", "The virtual arm puts the object to its place.")

    def prepare(self) -> bool:
        """Wait for "placed" where the object is placed by hand, then for "start"."""
        if self._places_by_hand:
            text = f"{self._once_more}Put {self._object} into the yellow outline, and step back out of the arm's reach."
            if self._answer("placing", text, "placed") is None:
                return False
        text = self._once_more + "Start when nobody is in reach of the arm."
        return self._answer("ready", text, "start") is not None

    def begin(self, timeout: float) -> None:
        """Show that the arm moves."""
        self._question = replace(self._question, timeout=timeout)
        self._ask("running", "The policy drives the arm. Keep a hand at STOP.")

    def verdict(self, text: str = HOW) -> Reply | None:
        """Ask for a verdict and wait for it. The task's measurement is not shown, as it would bias the operator."""
        reply = self._answer("verdict", text, "success", "failure", "void", whatever_the_gate=True)
        if reply is not None:
            said = None if reply.answer == "void" else reply.answer == "success"
            self._list(
                self._question.number, self._question.attempt, said, BY_OPERATOR if said is None else "", reply.note
            )
        return reply

    def conclude(self) -> None:
        """Wait for "finish", as long as a page is open."""
        self._question = self._blank
        if self._scheduler.undoable is not None:
            self._answer("done", "All trials are done.", "finish", whatever_the_gate=True)

    def finish(self, text: str) -> None:
        """Show that it is over, and give an open page time to do so."""
        self._question = self._blank
        self._ask("done", text)

        def over() -> bool:
            return (self._state.shown or not self._state.watched) and not self._state.second_awaited

        deadline = time.monotonic() + LAST_VERDICT
        self._node.wait(lambda: over() or time.monotonic() > deadline, math.inf, "the page to show the end")

    def _ask(self, phase: Phase, text: str, *answers: Answer, problem: str = "") -> None:
        problem = self._blind(problem)
        self._question = replace(self._question, phase=phase, text=text, answers=answers, problem=problem)
        self._state.ask(self._question)

    def _answer(
        self, phase: Phase, text: str, *answers: Answer, problem: str = "", whatever_the_gate: bool = False
    ) -> Reply | None:
        """Ask, and return the answer; None as soon as the arm is stopped, unless `whatever_the_gate` does."""
        if phase in UNDO and self._scheduler.undoable is not None:
            answers = (*answers, "undo")
        self._ask(phase, text, *answers, problem=problem)

        def stopped() -> bool:
            return not whatever_the_gate and (bool(self.stopped) or self._node.gate.state == "stopped")

        def over() -> bool:
            return self._state.reply() is not None or stopped() or (phase == "done" and not self._state.watched)

        self._node.wait(over, math.inf, "the operator's answer")
        reply = None if stopped() else self._state.reply()
        if reply is not None and reply.answer == "undo":
            raise Undo(reply.by)
        return reply

    def _blind(self, text: str) -> str:
        return NODE.sub("the policy", text) if self._scheduler.protocol.blinded else text

    def _list(self, number: int, attempt: int, said: bool | None, void_reason: str, note: str) -> None:
        if void_reason.startswith(BY_OPERATOR):
            verdict, note = "void", note or void_reason.removeprefix(BY_OPERATOR)
        elif void_reason.startswith(UNDONE):
            verdict = "undone"
        elif void_reason:
            verdict = f"void ({self._blind(void_reason)})"
        else:
            verdict = {True: "success", False: "failure", None: "not judged"}[said]
        self._state.show_past(PastTrial(number, attempt, verdict, note))

    def _overlaid(self, frame: np.ndarray) -> np.ndarray:
        if self._camera is None or not self._question.number:
            return frame
        q = self._question
        return draw_ghost(frame, self._camera, self._ghost, q.x, q.y, q.yaw, self._node.ee_pose())
