"""The supervisor: an answer that DDS loses is no dead process."""

from __future__ import annotations

import threading
import time

import pytest
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node

from robots.registry import load_robot
from ros_nodes.supervisor import HANG
from tests.support.ros_bench import RosBench, finish
from tests.support.tiny_bundle import CAMERA

pytestmark = pytest.mark.ros


class Forgetful(Node):
    """Stands for a policy node whose first answer of each service is lost."""

    def __init__(self, ros: RosBench) -> None:
        super().__init__("policy_node", context=ros.context)
        self.state, self.ended = State.PRIMARY_STATE_UNCONFIGURED, threading.Event()
        self.asked = {"change": 0, "get": 0}
        group = ReentrantCallbackGroup()
        self.create_service(ChangeState, "~/change_state", self._change, callback_group=group)
        self.create_service(GetState, "~/get_state", self._get, callback_group=group)

    def _lose_the_first(self, name: str) -> None:
        self.asked[name] += 1
        if self.asked[name] == 1:
            self.ended.wait()

    def _change(self, request: ChangeState.Request, response: ChangeState.Response) -> ChangeState.Response:
        assert request.transition.id == Transition.TRANSITION_CONFIGURE
        self.state = State.PRIMARY_STATE_INACTIVE
        self._lose_the_first("change")
        response.success = True
        return response

    def _get(self, _request: GetState.Request, response: GetState.Response) -> GetState.Response:
        self._lose_the_first("get")
        response.current_state.id = self.state
        return response


def test_lost_answers_are_asked_for_again(ros: RosBench, tiny_bundle_path) -> None:
    ros.arm(load_robot("franka_panda"), CAMERA)
    ros.gate(tiny_bundle_path)
    policy = Forgetful(ros)
    executor = MultiThreadedExecutor(4, context=ros.context)
    executor.add_node(policy)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    try:
        supervisor = ros.start("supervisor")
        ros.wait(lambda: policy.asked["get"] > 8, "the policy to be watched", 20.0)
        time.sleep(HANG)
        assert supervisor.poll() is None, finish(supervisor)
        assert policy.asked["change"] == 1
        policy.state = State.PRIMARY_STATE_FINALIZED
        ros.wait(lambda: supervisor.poll() is not None, "the supervisor to end")
        assert "policy_node: has been shut down" in finish(supervisor)[1]
    finally:
        policy.ended.set()
        executor.shutdown()
        thread.join()
        policy.destroy_node()
