"""The true parameters of the virtual arm, hidden from training: one file of values, each with its reason.

Training randomises around the URDF in PyBullet; these values belong to another arm, camera and room in
another engine. They are realistic, not hostile: a lab's own arm differs from its URDF by about as much.
`HiddenReality()` is the default reality; `save` and `load` keep others beside an experiment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from robots.host.reading import brief, read_json
from robots.host.typed import typed
from robots.host.writing import write_json
from robots.specs import SpecError

DRIVER_LAG = 0.005
"""How much later each further camera of a rig delivers its images [s]: their drivers share a bus."""


@dataclass(frozen=True)
class LinkInertia:
    """Mass and inertia of one link, in the link's frame."""

    mass: float
    """[kg]"""
    com: tuple[float, ...]
    """Centre of mass [m]."""
    inertia: tuple[float, ...]
    """xx, yy, zz, xy, xz, yz about the centre of mass [kg·m²]."""

    def __post_init__(self) -> None:
        if (len(self.com), len(self.inertia)) != (3, 6):
            raise SpecError(f"com and inertia have {len(self.com)} and {len(self.inertia)} values, expected 3 and 6")


def as_ball(mass: float) -> LinkInertia:
    """Return the inertia of a link of which only the mass [kg] is known: that of a ball of 5 cm radius.

    The round 0.1 kg·m² that pybullet_data's Panda gives to every link would turn a finger into a flywheel.
    """
    moment = max(0.4 * mass * 0.05**2, 1e-6)
    return LinkInertia(mass, (0.0, 0.0, 0.0), (moment, moment, moment, 0.0, 0.0, 0.0))


# What was identified on a real Panda (Gaz et al., IEEE RA-L 2019, as in franka_description): the URDF of
# pybullet_data carries round numbers instead, e.g. 2.73 kg for link 2, which weighs 0.65 kg.
PANDA_INERTIA: dict[str, LinkInertia] = {
    "panda_link1": LinkInertia(
        4.970684, (0.003875, 0.002081, -0.04762), (0.70337, 0.70661, 0.009117, -0.000139, 0.006772, 0.019169)
    ),
    "panda_link2": LinkInertia(
        0.646926, (-0.003141, -0.02872, 0.003495), (0.007962, 0.02811, 0.025995, -0.003925, 0.010254, 0.000704)
    ),
    "panda_link3": LinkInertia(
        3.228604, (0.027518, 0.039252, -0.066502), (0.037242, 0.036155, 0.01083, -0.004761, -0.011396, -0.012805)
    ),
    "panda_link4": LinkInertia(
        3.587895, (-0.05317, 0.104419, 0.027454), (0.025853, 0.019552, 0.028323, 0.007796, -0.001332, 0.008641)
    ),
    "panda_link5": LinkInertia(
        1.225946, (-0.011953, 0.041065, -0.038437), (0.035549, 0.029474, 0.008627, -0.002117, -0.004037, 0.000229)
    ),
    "panda_link6": LinkInertia(
        1.666555, (0.060149, -0.014117, -0.010517), (0.001964, 0.004354, 0.005433, 0.000109, -0.001158, 0.000341)
    ),
    "panda_link7": LinkInertia(
        0.735522, (0.010517, -0.004252, 0.061597), (0.012516, 0.010027, 0.004815, -0.000428, -0.001196, -0.000741)
    ),
}


@dataclass(frozen=True)
class HiddenArm:
    """Dynamics and control, one value a joint where a tuple is given."""

    inertia: Mapping[str, LinkInertia] = field(default_factory=lambda: dict(PANDA_INERTIA))
    """Links that weigh other than the URDF says."""
    tool_mass: float = 0.12
    """Cables and a bracket on the hand that are missing in the controller's load settings [kg]."""
    kp: tuple[float, ...] = (600.0, 600.0, 600.0, 600.0, 250.0, 150.0, 50.0)
    """Position gains [N·m/rad]: franka_ros's joint impedance controller, far softer than PyBullet's servo."""
    kd: tuple[float, ...] = (30.0, 30.0, 30.0, 30.0, 10.0, 10.0, 5.0)
    """Velocity gains [N·m·s/rad], from the same file."""
    gravity_compensation: float = 0.96
    """Share of gravity that the controller cancels: load settings are never exact. Sags by a few mrad."""
    friction: tuple[float, ...] = (0.27, 0.44, 0.32, 0.64, 0.42, 0.15, 0.28)
    """Coulomb friction [N·m]: half the sigmoid's span identified by Gaz et al. 2019."""
    damping: tuple[float, ...] = (1.2, 1.2, 1.0, 1.0, 0.6, 0.5, 0.4)
    """Viscous friction [N·m·s/rad]: of the size published for harmonic drives of this class."""
    armature: tuple[float, ...] = (0.20, 0.20, 0.15, 0.15, 0.08, 0.08, 0.06)
    """Rotor inertia seen through the gears [kg·m²]: absent from the URDF, present in every arm."""
    command_delay: float = 0.012
    """From a controller's command to torque [s]: an Ethernet round trip and two servo ticks."""
    encoder_noise: float = 0.0004
    """Standard deviation of a joint reading [rad]."""
    encoder_offset: tuple[float, ...] = (0.003, -0.002, 0.001, 0.003, -0.002, 0.002, 0.004)
    """Zero errors of the encoders [rad]: the arm is a few mrad from what they read."""
    dead_band: float = 0.0
    """Position error that the servos ignore [rad]: none in a joint controller, some in a hobby servo."""
    backlash: float = 0.0
    """Half the play of the gears, within which nothing holds the joint [rad]."""
    grid: float = 0.0
    """Step of positions, commanded and measured [rad]: next to none where encoders have 20 bits."""


@dataclass(frozen=True)
class HiddenCamera:
    """The camera as it is, against the nominal pose and lens that the policy was trained with."""

    position_offset: tuple[float, ...] = (0.014, -0.011, 0.009)
    """Added to the nominal position in base [m]: a tripod measured with a tape. A third of it for one on the hand."""
    rotation_offset_deg: tuple[float, ...] = (0.8, -0.7, 0.5)
    """Rotation about the camera's own x, y, z after the nominal pose [deg]: a residual of hand-eye calibration."""
    height: int = 240
    """[px]"""
    width: int = 320
    """[px]: a webcam's quarter-VGA mode."""
    fx: float = 262.3
    """[px] about 63° across: wider than the policy's 42°, as a stock webcam is."""
    fy: float = 261.1
    """[px]"""
    cx: float = 163.1
    """[px] A lens is never centred on its chip."""
    cy: float = 117.2
    """[px]"""
    distortion: tuple[float, ...] = (-0.062, 0.041, 0.0008, -0.0011, 0.0)
    """Plumb-bob k1, k2, p1, p2, k3: barrel distortion of a mild wide-angle lens."""
    exposure: float = 1.06
    """Gain on linear brightness: the auto-exposure settled somewhat bright."""
    white_balance: tuple[float, ...] = (1.05, 1.00, 0.93)
    """Gains on R, G, B: warm light, half corrected."""
    gamma: float = 0.93
    """Exponent on brightness in [0, 1]: the camera's own tone curve, lifting the shadows."""
    vignetting: float = 0.16
    """Brightness lost in the corners."""
    blur: float = 0.55
    """Standard deviation of the lens's point spread [px]: never perfectly in focus."""
    shot_noise: float = 1.1
    """Noise at full brightness, growing with its square root [grey levels of 255]."""
    read_noise: float = 1.3
    """Noise that is always there [grey levels]."""
    delay: float = 0.028
    """Exposure to publication [s]: read-out, USB and the driver. The stamp is that of the exposure."""
    rate_hz: float = 30.0
    """Frames a second."""


@dataclass(frozen=True)
class HiddenScene:
    """The room. Colours are RGB in [0, 1]."""

    table_colour: tuple[float, ...] = (0.62, 0.53, 0.43)
    """Birch ply; its grain is drawn by another procedure than training's textures."""
    table_top: tuple[float, ...] = (1.50, 1.70)
    """Size along x and y [m]; its edge is in the image, behind the arm."""
    floor_colour: tuple[float, ...] = (0.40, 0.41, 0.43)
    """Grey tiles."""
    wall_colour: tuple[float, ...] = (0.72, 0.74, 0.73)
    """Painted white, seen in shade."""
    object_size: float = 0.042
    """Edge of the cube [m]: printed 2 mm too large."""
    object_mass: float = 0.055
    """[kg] a hollow print."""
    object_friction: float = 0.45
    """Sliding friction against the table: plastic on varnished wood."""
    object_colours: tuple[tuple[float, ...], ...] = (
        (0.82, 0.10, 0.09),
        (0.08, 0.52, 0.20),
        (0.07, 0.25, 0.78),
        (0.90, 0.62, 0.05),
        (0.86, 0.30, 0.05),
    )
    """Filament colours; a trial's cube has one of them."""
    ambient: float = 0.40
    """Light from everywhere."""
    key_light: float = 0.62
    """Ceiling panel, slightly in front of the arm; casts the shadow."""
    key_direction: tuple[float, ...] = (-0.35, 0.30, -0.89)
    """Direction in which its light travels, base frame."""
    window_light: float = 0.22
    """Window on the arm's left, bluish."""
    window_direction: tuple[float, ...] = (-0.25, -0.85, -0.46)
    """Direction in which its light travels, base frame."""
    lamp_light: float = 0.10
    """Desk lamp behind the camera, warm."""
    lamp_direction: tuple[float, ...] = (-0.80, 0.10, -0.59)
    """Direction in which its light travels, base frame."""
    light_variation: float = 0.12
    """Largest relative change of all lights from trial to trial: clouds, people walking past."""


@dataclass(frozen=True)
class HiddenReality:
    """Everything about the virtual arm that no policy may use."""

    arm: HiddenArm = field(default_factory=HiddenArm)
    camera: HiddenCamera = field(default_factory=HiddenCamera)
    scene: HiddenScene = field(default_factory=HiddenScene)

    def camera_at(self, k: int) -> HiddenCamera:
        """Return camera number `k` of the rig: as far off as the first, in other directions, and as late or later."""
        first, sign = self.camera, (-1.0) ** k

        def turned(errors: tuple[float, ...]) -> tuple[float, ...]:
            return tuple(sign * errors[(i - k) % 3] for i in range(3))

        return replace(
            first,
            position_offset=turned(first.position_offset),
            rotation_offset_deg=turned(first.rotation_offset_deg),
            delay=first.delay + k * DRIVER_LAG,
        )

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        return asdict(self)

    def save(self, path: Path) -> None:
        """Write as JSON."""
        write_json(path, self.to_dict(), indent=1)

    @classmethod
    def from_dict(cls, data: Mapping, default: HiddenReality | None = None) -> HiddenReality:
        """Build from what `to_dict` returned; values left out are those of `default`, the Panda's if None.

        Raises:
            SpecError: for a name that does not exist, with those that do.
        """
        default = default or cls()
        sections = {entry.name: getattr(default, entry.name) for entry in fields(cls)}
        _refuse_unknown("", data, list(sections))
        built = {}
        for name, section in sections.items():
            values = data.get(name, {})
            if not isinstance(values, Mapping):
                raise SpecError(f"hidden reality: {name} is {brief(repr(values))}, expected names with values")
            _refuse_unknown(f"{name}.", values, [entry.name for entry in fields(section)])
            hints = get_type_hints(type(section))
            built[name] = replace(
                section, **{key: _typed(f"{name}.{key}", hints[key], value) for key, value in values.items()}
            )
        return cls(**built)

    @classmethod
    def load(cls, path: Path, default: HiddenReality | None = None) -> HiddenReality:
        """Read what `save` wrote; values left out are those of `default`, the Panda's if None.

        Raises:
            SpecError: if the file is missing, is not JSON, or names a value that does not exist.
        """
        data = read_json(path, "hidden reality")
        try:
            return cls.from_dict(data, default)
        except SpecError as error:
            raise SpecError(f"'{path}': {error}") from None


def _refuse_unknown(prefix: str, data: Mapping, known: list[str]) -> None:
    for name in data:
        if name not in known:
            raise SpecError(f"hidden reality: unknown value '{prefix}{name}'; known are {', '.join(known)}")


def _typed(name: str, hint: Any, value: object) -> Any:
    try:
        return typed(hint, value)
    except TypeError as error:
        raise SpecError(f"hidden reality: {name} is {brief(repr(value))}, expected {error}") from None
