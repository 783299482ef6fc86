"""The objects of one task on the virtual arm's table, with the hidden sizes and masses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robots.model import RobotModel
from robots.specs import SpecError
from sim.catalogue import parameter_space
from sim.randomization.named_colours import COLOURS
from sim.rendering.contrast import within_hues
from sim.scene import RigidBody
from sim.tasks import load_task
from sim.tasks.several_things import SeveralThings
from sim.tasks.task import Scene
from sim.virtual_arm.hidden_reality import HiddenReality
from sim.virtual_arm.interface import NOMINAL_SIZES, Colours, Judgement, Sizes

CLEAR = 0.10
"""Least distance of what the operator places from everything else that a task puts on the table [m]."""
TRIES = 200
"""Draws of the rest of the scene around a given place."""


class VirtualTable:
    """One task's bodies, and how they are laid out anew for a trial."""

    def __init__(self, task: str, robot: RobotModel, hidden: HiddenReality, sizes: Sizes = NOMINAL_SIZES):
        """Take the task's bodies, and what the hidden reality says of the object.

        Args:
            task: its name.
            robot: the arm.
            hidden: what is true; its cube is as much too large as against the nominal one.
            sizes: lengths of the task's own parameters that the lab chose [m]; nominal where left out.

        Raises:
            SpecError: for an unknown task, or one that this arm cannot do.
        """
        self.task = load_task(task)
        if self.task.needs_gripper and robot.gripper is None:
            raise SpecError(f"task '{task}' needs a gripper, but robot '{robot.name}' has none; take another arm")
        self.task.fit(robot)
        nominal = parameter_space(self.task, robot).nominal()
        self._parameters = nominal | {name: size for name, size in sizes.items() if name in nominal}
        scene = hidden.scene
        self._parameters |= {"object_mass": scene.object_mass, "object_friction": scene.object_friction}
        if "object_size" in nominal:
            self._parameters["object_size"] += self.task.scale * scene.object_size - nominal["object_size"]
        self.bodies: tuple[RigidBody, ...] = self.task.bodies(self._parameters)
        """The handled one first."""
        colours, spread = scene.object_colours, self.task.hues.get("object", 1.0)
        own = self.bodies[0].colour
        self.object_colours = tuple(each for each in colours if within_hues(each, own, spread)) or (own,)
        """Those that the object may have: where its hue tells it from another one, those of like hue."""
        self._filaments = colours
        self._names: dict[str, str] = {}
        self._asked: dict[str, float] = {}

    @property
    def sizes(self) -> Sizes:
        """True lengths of what stands there, by the task's parameters [m]."""
        return {param.name: self._parameters[param.name] for param in self.task.params if param.unit == "m"}

    @property
    def opening(self) -> float | None:
        """Where the fingers stand when a trial begins [m]; None: wide open, and they stay so."""
        return self.task.opening

    def draw_colours(self, rng: np.random.Generator) -> Colours:
        """Draw the colours of a trial: the object's or, of several things, each one's, those asked for among them."""
        if not isinstance(self.task, SeveralThings):
            return {"object": self.object_colours[rng.integers(len(self.object_colours))]}
        count = len(self.task.references)
        drawn = {f"{body}_colour": float(rng.integers(count)) for body in self.task.named}
        self._parameters |= {"things_seed": float(rng.integers(2**31)), **drawn, **self._asked}
        self._names = self.task.colour_names(self._parameters)
        return {body: self._filament(name) for body, name in self._names.items()}

    def _filament(self, name: str) -> tuple[float, ...]:
        """Return the colour of the thing that is called `name` here, or the reference where there is no filament."""
        named = COLOURS[name]
        return next((each for each in self._filaments if named.holds(each)), named.reference)

    def ask(self, scene: Scene, names: Sequence[str], colours: Colours) -> Colours:
        """Make the things called `names` those that the task is about: in later trials, and now where they are there.

        The things are alike, so that two change roles by changing colours and places: nobody would notice.

        Args:
            scene: the table.
            names: colours, in the order of the task's `named`.
            colours: of the present trial, as `draw_colours` returned.

        Returns:
            The colours from now on.

        Raises:
            SpecError: if the task is not about one of several things.
        """
        if not isinstance(self.task, SeveralThings):
            raise SpecError(f"virtual arm: task '{self.task.name}' is not about one of several things")
        self._asked = self.task.asking(names)
        shapes, changed = {body.name: body.shapes for body in self.bodies}, dict(colours)
        for body, name in zip(self.task.named, names):
            other = next((each for each, known in self._names.items() if known == name), body)
            if other == body or shapes[other] != shapes[body]:
                continue  # nothing to do now, or another size: from the next trial on
            (here, turn), (there, turned) = (tuple(v.copy() for v in scene.pose(each)) for each in (body, other))
            scene.place(body, there, turned)
            scene.place(other, here, turn)
            for each in (self._names, changed):
                each[body], each[other] = each[other], each[body]  # type: ignore[assignment]
        self.task.refresh(scene)
        return changed

    def lay(self, scene: Scene, xy: tuple[float, float] | None, rng: np.random.Generator) -> None:
        """Put what the operator places at `xy` [m, base frame], and draw where the rest stands; None: draw it all.

        Raises:
            SpecError: if the rest finds no room.
        """
        if xy is None:
            self.task.reset(scene, self._parameters, rng)
            return
        placed, held = self.task.placed_body, "object" if self.task.held_at_start else ""
        others = [body.name for body in self.bodies if body.name not in (placed, held)]
        for _ in range(TRIES):
            self.task.reset(scene, self._parameters, rng)
            near = [np.hypot(*(scene.pose(name)[0][:2] - xy)) < CLEAR for name in others]
            if not any(near):
                position, quat = scene.pose(placed)
                scene.place(placed, (*xy, position[2]), quat)
                self.task.refresh(scene)
                return
        raise SpecError(
            f"virtual arm: nothing of task '{self.task.name}' finds room beside ({xy[0]:.3f}, {xy[1]:.3f}) m; "
            "choose another place"
        )

    def goal(self, scene: Scene) -> np.ndarray:
        """Where something should get to (3,) [m, base frame]."""
        return np.array(self.task.desired_goal(scene))

    def achieved(self, scene: Scene) -> np.ndarray:
        """Where it is (3,) [m, base frame]."""
        return np.array(self.task.achieved_goal(scene))

    def judge(self, scene: Scene) -> Judgement:
        """Judge the scene as it is now by the task's own rules."""
        task = self.task
        near = bool(task.is_success(task.achieved_goal(scene), task.desired_goal(scene)))
        return Judgement(near, task.is_released(scene), task.is_failure(scene))
