"""What is near the arm, and whether everything else is at rest: what physics can spare.

Once an action period, `survey` compares the boxes round the arm's links and round the bodies. Bodies that have not
moved for a while, and are clear of the arm, are put to sleep all together: PyBullet then leaves them where they are,
and leaves out their contacts with each other and the table. While they sleep and the arm is clear of the table, too,
ticks may be merged; bodies that are awake rock and creep in ticks of that length.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sim.bullet import pybullet
from sim.scene import RigidBody

CLEARANCE = 0.05
"""From the arm to a body that it is clear of [m]: the hand goes less far in an action period."""
MOVED, TURNED = 5e-4, 4e-3
"""What a body at rest may move by while it is watched [m], and how far it may rock, in each number of its quaternion:
at the solver's residual and under the restless force of `full`, a cube rocks by 0.001 to 0.004."""
WATCHED = 5
"""Action periods that bodies are watched for before they sleep."""
WAKING = 2.0
"""Least push that wakes bodies, as a multiple of the strongest one while they were watched."""

SLEEP = pybullet.ACTIVATION_STATE_ENABLE_SLEEPING | pybullet.ACTIVATION_STATE_SLEEP
WAKE = pybullet.ACTIVATION_STATE_WAKE_UP | pybullet.ACTIVATION_STATE_DISABLE_SLEEPING

_STATE = ("is_clear", "asleep", "_changed", "_stood", "_watched", "_push")


class Vicinity:
    """Watches the bodies of one client."""

    def __init__(self, client: int, arm: int, upper_arm: int):
        """Watch the links of body `arm` after the link `upper_arm`: those up to it touch nothing."""
        self._client, self._arm, self._upper_arm = client, arm, upper_arm
        self.begin((), {})

    def begin(self, bodies: Sequence[RigidBody], ids: Mapping[str, int]) -> None:
        """Take `bodies` that have been built anew, with PyBullet's `ids`."""
        self.is_clear = False
        """Whether no body moves, and none is near the arm."""
        self.asleep = False
        """Whether all bodies that can move are asleep."""
        self._changed = False  # whether they fell asleep or woke since the last tick, at which they lag behind
        self._stood: list[float] = []
        self._watched = 0
        self._push = 0.0
        self._movers = {body.name: ids[body.name] for body in bodies if body.mass > 0}
        self._standing = [ids[body.name] for body in bodies if body.mass == 0 and body.solid]
        self._boxes: dict[int, tuple[list[float], list[float]]] = {}  # of what does not move

    @property
    def stands(self) -> bool:
        """Whether no body moves in the next tick."""
        return self.asleep and not self._changed

    def disturb(self) -> None:
        """Wake everything and be clear of nothing until the next survey: something was put elsewhere."""
        self.is_clear = False
        self._boxes.clear()
        self._wake()

    def take_push(self, push: float) -> bool:
        """Take a force on a body [N], which wakes sleeping ones if it is strong; return whether it may move them."""
        if self.asleep:
            if push <= WAKING * self._push:
                return False
            self._wake()
        self._push = max(self._push, push)
        return True

    def survey(self, pose: Callable[[str], tuple[np.ndarray, np.ndarray]]) -> None:
        """Refresh `is_clear`, and let bodies sleep or wake; `pose` gives a body's position and orientation.

        The boxes are those at the beginning of the last tick.
        """
        self._changed = False
        self.is_clear = False
        if any(self._is_near(number, self.asleep) for number in self._movers.values()):
            self._wake()
            self._watched = 0
        elif self.asleep or not self._movers:
            self.is_clear = not any(self._is_near(number, True) for number in self._standing)
        else:
            self._watch(pose)

    def _is_near(self, number: int, keep: bool) -> bool:
        """Whether the arm is near a body; `keep` its box for the next time."""
        box = self._boxes.get(number)
        if box is None:
            low, high = pybullet.getAABB(number, -1, physicsClientId=self._client)
            box = [v - CLEARANCE for v in low], [v + CLEARANCE for v in high]
            if keep:
                self._boxes[number] = box
        found = pybullet.getOverlappingObjects(*box, physicsClientId=self._client) or ()
        return any(other == self._arm and link > self._upper_arm for other, link in found)

    def _watch(self, pose: Callable[[str], tuple[np.ndarray, np.ndarray]]) -> None:
        poses = [pose(name) for name in self._movers]
        stands = [v for position, quat in poses for v in (*(position / MOVED).tolist(), *(quat / TURNED).tolist())]
        if self._watched and max(map(abs, map(operator.sub, stands, self._stood))) < 1.0:
            self._watched += 1
        else:
            self._stood, self._watched, self._push = stands, 1, 0.0
        if self._watched > WATCHED:
            self._send(SLEEP)
            self.asleep = self._changed = True

    def _wake(self) -> None:
        if self.asleep:
            self._send(WAKE)
            self.asleep, self._changed = False, True
            self._watched = 0
            for number in self._movers.values():
                self._boxes.pop(number, None)

    def _send(self, activation: int) -> None:
        for number in self._movers.values():
            pybullet.changeDynamics(number, -1, activationState=activation, physicsClientId=self._client)

    def get_state(self) -> dict[str, object]:
        """Return what `set_state` needs."""
        return {name: getattr(self, name) for name in _STATE}

    def set_state(self, state: Mapping[str, object], restore: Callable[[], None]) -> None:
        """Continue from what `get_state` returned; `restore` puts the bodies where they were, once or twice.

        PyBullet takes a tick to let bodies sleep or wake, which is repeated here.
        """
        for name in _STATE:
            setattr(self, name, state[name])
        restore()
        if self.asleep != self._changed:  # they slept before
            self._send(SLEEP)
            for _ in range(2):
                pybullet.stepSimulation(self._client)
            restore()
        if self._changed:
            self._send(SLEEP if self.asleep else WAKE)
