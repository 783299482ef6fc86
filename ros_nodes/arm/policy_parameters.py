"""The parameters of a policy node, and what they say about its bundle's inputs."""

from __future__ import annotations

from collections.abc import Sequence

from policies.bundle import PolicyBundle
from policies.runtime.loop_limits import LoopLimits
from robots.specs import SpecError
from ros_nodes import topics
from ros_nodes.arm import joint_names, pose_inputs
from ros_nodes.parameters import Parameter, Parameters

PARAMETERS = (
    Parameter("bundle", "", "path of the policy bundle, a folder or a zip"),
    Parameter("shadow", False, "publish what would be sent, move nothing"),
    Parameter("dry_run", "", "file of a dry run that the operator confirmed; given, no other bundle moves the arm"),
    Parameter("autostart", False, "configure and activate at once; exit if that fails"),
    Parameter("state_age", 0.1, "greatest age of the joint state [s]"),
    Parameter("gripper_age", 0.25, "greatest age of the finger positions, for policies with a gripper [s]"),
    Parameter("frame_age", 0.25, "greatest age of a camera's frame [s]"),
    *pose_inputs.PARAMETERS,
    Parameter("goal_thing", "", "which of several things to act on, as on the topic goal_thing: red, or red on blue"),
    Parameter("check_inputs", True, "stop on inputs unlike those that the bundle's policy was trained on"),
    Parameter(
        "match_light",
        False,
        "bring pictures whose light lies outside what training saw back to it, slowly and within bounds; may be set "
        "while the policy runs, and false undoes it at once",
    ),
    Parameter("blend", 0.3, "time from the present position to full commands [s]"),
    Parameter("lead", 0.12, "how far a joint's target may run ahead of the measured joint [rad]"),
    Parameter("rest_lead", 0.09, "the same where the joint does not move [rad]: less than the gate's stall_error"),
    Parameter(
        "warm_up", True, "compute up to three times before each deadline, for nothing, so that commands come sooner"
    ),
    Parameter(
        "stay_awake", True, "while active, keep the processor out of its sleep states, where the system allows it"
    ),
    Parameter("wait", 5.0, "how long to wait for the arm, its cameras and the gate [s]"),
    Parameter("joint_states", topics.JOINT_STATES, "topic of the joint states"),
    *joint_names.PARAMETERS,
    Parameter("gripper_states", "", "topic of the fingers' joint states, where they are not among the joint states"),
    Parameter("image_topics", "", "camera=topic, comma-separated; camera_info is looked for beside each"),
    Parameter(
        "camera_calibration",
        "",
        "camera=file, comma-separated, as 'sim2real calibrate' wrote them: taken instead of CameraInfo; for a policy "
        "with one camera the file alone will do",
    ),
    Parameter(
        "robot_description",
        topics.ROBOT_DESCRIPTION,
        "topic of the arm's URDF, whose joints and limits must be those of the bundle's arm; empty: not compared",
    ),
    Parameter("description_wait", 0.5, "how long to wait for a URDF that nobody is seen to publish [s]; none is well"),
)


def loop_limits(parameters: Parameters) -> LoopLimits:
    """Return when the control loop refuses to act.

    Raises:
        SpecError: for a limit out of its range.
    """
    number = parameters.number
    return LoopLimits(
        number("state_age"),
        number("gripper_age"),
        number("frame_age"),
        number("pose_age"),
        parameters.flag("check_inputs"),
        number("blend"),
        number("lead"),
        number("rest_lead"),
    )


def chosen_topics(parameters: Parameters, bundle: PolicyBundle) -> dict[str, topics.CameraTopics]:
    """Return the topics of the cameras that the bundle observes, by name.

    Raises:
        SpecError: for a malformed `image_topics`, or a camera in it that the bundle does not observe.
    """
    needed = [array.name.removeprefix("image_") for array in bundle.observation.arrays if array.is_image]
    return named_topics(parameters.text("image_topics"), needed)


def named_topics(text: str, needed: Sequence[str]) -> dict[str, topics.CameraTopics]:
    """Return the topics of the cameras that are `needed`, by name; `text` is the parameter `image_topics`.

    Raises:
        SpecError: for a malformed one, or a camera in it that is not needed.
    """
    given: dict[str, str] = {}
    for pair in filter(None, text.split(",")):
        name, _, topic = pair.strip().partition("=")
        if name not in needed or not topic:
            raise SpecError(
                f"parameter 'image_topics': '{pair}', expected <camera>=<topic> with a camera of the policy: "
                f"{', '.join(needed) or 'it has none'}"
            )
        given[name] = topic
    found = topics.camera_topics(needed)
    for name, topic in given.items():
        folder, slash, _ = topic.rpartition("/")
        found[name] = topics.CameraTopics(topic, f"{folder}{slash}camera_info")
    return found
