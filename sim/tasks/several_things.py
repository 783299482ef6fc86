"""Several things of distinct, named colours on the table, of which a task is about the one that is asked for.

Any task that says which of its bodies can be asked for by colour, `Task.named`, has such a variant: `pick_place@5` is
`pick_place` with five things. The further ones are like the task's object but for their colour; they collide, and may
fall off the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from robots.model import RobotModel
from robots.observation import ASKED_COLOURS
from robots.specs import ArraySpec, SpecError
from sim.randomization.named_colours import COLOURS, RGB
from sim.randomization.parameters import Choice, Param, U
from sim.scene import RigidBody
from sim.tasks.places import sample_turn, sample_xy_apart
from sim.tasks.state_samples import StateSample
from sim.tasks.task import Scene, Task

MARK = "@"
"""Stands between a task's name and the number of things."""
APART = 0.10
"""Least distance between two things [m]: open fingers come down beside one without touching the next."""
SEED = Param("things_seed", 0.0, "=", U(0.0, 2.0**31), "", "visual", "Seed of their shades and order.", at_least=0)


class SeveralThings(Task):
    """Stands before a task's class among the bases of its variant with several things, see `with_things`."""

    things: int
    """How many things have a colour that can be asked for, the task's own among them."""

    @property
    def references(self) -> dict[str, RGB]:
        """The reference colour of every name that can be asked for, in [0, 1]."""
        return {name: colour.reference for name, colour in COLOURS.items()}

    def colour_names(self, parameters: Mapping[str, float]) -> dict[str, str]:
        """Return the names of the things' colours by body, the task's own first; no two are the same."""
        free = list(COLOURS)
        chosen = {}
        for body in self.named:
            wanted = list(COLOURS)[round(parameters[f"{body}_colour"])]
            chosen[body] = wanted if wanted in free else free[0]
            free.remove(chosen[body])
        _, order = _draws(parameters)
        others = [name for name in (list(COLOURS)[k] for k in order) if name in free]
        return chosen | dict(zip(self._others, others))

    def colours(self, parameters: Mapping[str, float]) -> dict[str, RGB]:
        """Return the things' colours by body, in [0, 1]: the references where appearance is not randomised."""
        u, _ = _draws(parameters)
        u = 0.5 + parameters["appearance_strength"] * (u - 0.5)
        shades = {name: each.at(share) for (name, each), share in zip(COLOURS.items(), u.tolist())}
        return {body: shades[name] for body, name in self.colour_names(parameters).items()}

    def asking(self, names: Sequence[str]) -> dict[str, float]:
        """Return the parameters with which the things of these colours are the task's own, in the order of `named`."""
        return {f"{body}_colour": float(list(COLOURS).index(name)) for body, name in zip(self.named, names)}

    def bodies(self, parameters: Mapping[str, float]) -> tuple[RigidBody, ...]:
        """The task's own bodies, and further ones like the object."""
        own, colours = super().bodies(parameters), self.colours(parameters)  # type: ignore[safe-super]
        model = next(body for body in own if body.name == self.named[0])
        every = (*own, *(model._replace(name=name) for name in self._others))
        return tuple(body._replace(colour=colours.get(body.name, body.colour)) for body in every)

    def reset(self, scene: Scene, parameters: Mapping[str, float], rng: np.random.Generator) -> None:
        """Place what the task places, then the further things apart from it and from each other."""
        super().reset(scene, parameters, rng)  # type: ignore[safe-super]
        self._own = tuple(body.name for body in super().bodies(parameters))  # type: ignore[safe-super]
        self._z = float(scene.pose(self.named[0])[0][2])
        self._place_others(scene, rng)
        names = self.colour_names(parameters)
        self._asked = np.array([COLOURS[names[body]].reference for body in self.named])

    def sample_state(
        self, scene: Scene, robot: RobotModel, parameters: Mapping[str, float], rng: np.random.Generator
    ) -> StateSample:
        """As the task does; the further things then stand apart from its bodies and from the hand."""
        state = super().sample_state(scene, robot, parameters, rng)
        hand = robot.chain.pose(state.q)[1]
        self._place_others(scene, rng, [(float(hand[0]), float(hand[1]))])
        return state

    def _place_others(self, scene: Scene, rng: np.random.Generator, also: Sequence[tuple[float, float]] = ()) -> None:
        """Stand the further things on the table, turned anyhow, apart from the task's bodies and from `also` [m]."""
        taken = [(float(x), float(y)) for x, y, _ in (scene.pose(name)[0] for name in self._own)]
        apart, count = self.scale * APART, len(self._others)
        places = sample_xy_apart(rng, *self.workspace[:2], apart, count, [*taken, *also], self.reach)
        for name, xy in zip(self._others, places):
            scene.place(name, (*xy, self._z), sample_turn(rng))

    def state(self, scene: Scene) -> dict[str, np.ndarray]:
        """The task's own arrays, and the reference colours of what is asked for."""
        return {**super().state(scene), ASKED_COLOURS: self._asked}

    @property
    def _others(self) -> tuple[str, ...]:
        return tuple(f"thing{k}" for k in range(1, 1 + self.things - len(self.named)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Make the variant anew from the task's class: pickle finds no class that was made while the program ran."""
        return with_things, (type(self).__mro__[2], self.things, self.name), vars(self)


def _draws(parameters: Mapping[str, float]) -> tuple[np.ndarray, list[int]]:
    """Return the shade of every colour as shares (N, 3) of its ranges, and the colours' numbers in a random order."""
    rng = np.random.default_rng(int(parameters[SEED.name]))
    return rng.random((len(COLOURS), 3)), rng.permutation(len(COLOURS)).tolist()


def among(task: str, things: int) -> str:
    """Return the name of the variant of `task` with so many things; 1 for the task itself.

    Raises:
        SpecError: if the name says another number already.
    """
    if things == 1:
        return task
    if MARK in task:
        raise SpecError(f"task '{task}' says how many things there are; leave out that there are {things}")
    return f"{task}{MARK}{things}"


def with_things(task: type[Task], things: int, name: str) -> Task:
    """Build `task`, called `name`, with so many things of distinct colours on the table.

    Raises:
        SpecError: if nothing in it can be asked for by colour, or there are not as many colours.
    """
    if not task.named:
        raise SpecError(f"task '{task.name}' names no body that can be asked for by colour; leave the things out")
    least = len(task.named) + 1
    if not least <= things <= len(COLOURS):
        raise SpecError(
            f"task '{name}': {things} things, expected {least} to {len(COLOURS)}, of the colours {', '.join(COLOURS)}"
        )
    further = tuple(f"thing{k}" for k in range(1, 1 + things - len(task.named)))
    chosen = tuple(
        # =Choice of all colours
        Param(
            f"{body}_colour",
            float(k),
            "=",
            Choice(*range(len(COLOURS))),
            "",
            "visual",
            f"Colour of the {body}, by its number among {', '.join(COLOURS)}.",
            at_least=0,
            at_most=len(COLOURS) - 1,
        )
        for k, body in enumerate(task.named)
    )
    asked = ArraySpec(ASKED_COLOURS, (len(task.named), 3), low=0.0, high=1.0)
    own = {
        "things": things,
        "params": (*task.params, *chosen, SEED),
        "privileged": (*task.privileged, asked),
        "measured": (*task.measured, ASKED_COLOURS),
        "movable": (*task.movable, *further),
        "hues": {**task.hues, **dict.fromkeys((*task.named, *further), 0.0)},  # drawn by name, and no other
        "single_object": False,
    }
    made = type(f"{task.__name__}Among", (SeveralThings, task), own)()
    vars(made)["name"] = name
    return made
