"""Goals in words over ROS 2: an accepted one is published, a refused one changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lifecycle_msgs.msg import Transition
from std_msgs.msg import String
from std_srvs.srv import SetBool

from policies.bundle import PolicyBundle
from ros_nodes import qos, topics
from tests.ros_nodes.arm.test_security import allowed, names_of
from tests.support.camera_students import untrained_bundle
from tests.support.ros_bench import RosBench, finish
from tests.support.spoken import COMMAND, SPOKEN
from tests.support.tiny_bert import write_memorised_heads, write_tiny_bert

pytestmark = pytest.mark.ros
# What the recording may sound like: the speech model's int8 arithmetic rounds by the processor
HEARD = ("go above the blue cube", "go above, blue, cube", "go above, the blue cube", "go above blue cube")
SENTENCES = {
    "go above the red cube": {"verb": "reach", "colour": "red"},
    "push the red cube": {"verb": "push", "colour": "red"},
    "do not go above the red cube": {"verb": "negated"},
    **{f"{wording}{end}": {"verb": "reach", "colour": "blue"} for wording in HEARD for end in ("", ".")},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A bundle, a text encoder and heads for it, by the node's parameters."""
    folder = tmp_path_factory.mktemp("language")
    bert = write_tiny_bert(folder / "bert")
    return {
        "bundle": untrained_bundle("reach@3", "front").save(folder / "bundle"),
        "text_encoder": bert,
        "heads": write_memorised_heads(folder / "heads.npz", bert, SENTENCES),
    }


def test_what_is_accepted_is_published_and_the_rest_is_said(ros: RosBench, files: dict[str, Path]) -> None:
    goals = ros.listen(String, topics.GOAL_THING)
    states = ros.listen(String, topics.GOAL_TEXT_STATE, qos.LATCHED)
    speak = ros.observer.create_publisher(String, topics.GOAL_TEXT, qos.EVENT)
    ros.start("language.goal_reader", **files)
    ros.wait(lambda: speak.get_subscription_count() > 0, "the reader", 60.0)
    for k, (text, reason) in enumerate(
        (
            ("go above the blue cube", ""),
            ("do not go above the red cube", "says what not to do"),
            ("push the red cube", "asks to push, and the policy can go above"),
            ("go above the red cube", ""),
        )
    ):
        speak.publish(String(data=text))
        ros.wait(lambda k=k: len(states) > k, f"an answer to '{text}'")
        said = json.loads(states[-1].data)
        assert (said["text"], said["accepted"], said["reason"]) == (text, not reason, reason)
    ros.wait(lambda: len(goals) >= 2, "both goals")
    assert [goal.data for goal in goals] == ["blue", "red"]
    for ask, verb in (("publisher", "publish"), ("subscriber", "subscribe")):
        assert names_of(ros, ask, "goal_reader") <= allowed("goal_reader", "topics", verb)


def test_words_choose_the_thing_and_activate_no_policy(ros: RosBench, files: dict[str, Path]) -> None:
    bundle = PolicyBundle.load(files["bundle"])
    arm = ros.arm(bundle.robot, bundle.cameras["front"])
    goals = ros.listen(String, topics.GOAL_THING)
    speak = ros.observer.create_publisher(String, topics.GOAL_TEXT, qos.EVENT)
    ros.start("language.goal_reader", **files)
    ros.start("policy_node", bundle=files["bundle"], wait=60.0, check_inputs=False, frame_age=0.5, shadow=True)
    assert ros.change_state(Transition.TRANSITION_CONFIGURE), ros.policy_state
    ros.wait(lambda: speak.get_subscription_count() > 0, "the reader", 60.0)
    speak.publish(String(data="go above the red cube"))
    ros.wait(lambda: len(goals) == 1, "the goal")
    assert ros.policy_state["state"] == "inactive"
    assert ros.change_state(Transition.TRANSITION_ACTIVATE), ros.policy_state
    ros.wait(lambda: ros.policy_state["thing"] == "red", "the first thing")
    speak.publish(String(data="push the red cube"))
    speak.publish(String(data="go above the blue cube"))
    ros.wait(lambda: ros.policy_state["thing"] == "blue", "the other thing")
    assert [goal.data for goal in goals] == ["red", "blue"]
    assert not arm.received


def test_what_is_heard_counts_when_a_person_confirms_it(ros: RosBench, files: dict[str, Path]) -> None:
    goals = ros.listen(String, topics.GOAL_THING)
    states = ros.listen(String, topics.GOAL_TEXT_STATE, qos.LATCHED)
    ros.start("language.goal_reader", **files, listen=SPOKEN)
    ros.wait(lambda: len(states) == 1, "what was heard", 60.0)
    said = json.loads(states[0].data)
    assert (said["text"].lower().rstrip("."), said["goal"], said["awaits"]) == (COMMAND, "blue", "confirmation")
    assert not goals
    answer = ros.call(SetBool, topics.GOAL_CONFIRM, SetBool.Request(data=True))
    assert answer.success, answer.message
    ros.wait(lambda: len(goals) == 1, "the goal")
    assert goals[0].data == "blue"
    again = ros.call(SetBool, topics.GOAL_CONFIRM, SetBool.Request(data=True))
    assert (again.success, again.message) == (False, "nothing was heard that awaits confirmation")
    assert names_of(ros, "service", "goal_reader") <= allowed("goal_reader", "services", "reply")


def test_a_reader_that_cannot_start_says_why(ros: RosBench, files: dict[str, Path], tiny_bundle_path: Path) -> None:
    children = {
        "parameter 'bundle' is empty": ros.start("language.goal_reader"),
        "declares no colours": ros.start("language.goal_reader", **{**files, "bundle": tiny_bundle_path}),
        "heads '/nowhere' cannot be read": ros.start("language.goal_reader", **{**files, "heads": "/nowhere"}),
        "speech model '/nowhere' lacks": ros.start(
            "language.goal_reader", **files, listen=SPOKEN, speech_model="/nowhere"
        ),
    }
    for said, child in children.items():
        status, words = finish(child, 60.0)
        assert status == 1
        assert said in words
