"""A policy for several things in the control loop: it does not start without being asked, and changes when it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from policies.bundle import BundleError, PolicyBundle
from policies.bundle.policy_bundle import COMPLETION
from policies.runtime.loop import ControlLoop, RefusalError
from policies.runtime.loop_limits import LoopLimits
from robots.observation import ASKED_COLOURS
from robots.registry import load_robot
from robots.specs import SpecError
from sim.randomization.named_colours import COLOURS
from tests.support.camera_students import untrained_bundle
from tests.support.fakes import FakeClock, FakeRobot
from tests.support.tiny_bundle import tiny_bundle

HOME = np.array(load_robot("franka_panda").home)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> PolicyBundle:
    path = untrained_bundle("reach@3", "front").save(tmp_path_factory.mktemp("bundle") / "three")
    return PolicyBundle.load(path)


def make(bundle: PolicyBundle) -> ControlLoop:
    clock = FakeClock()
    return ControlLoop(bundle, FakeRobot(HOME, clock), LoopLimits(check_inputs=False), safety=None, clock=clock)


@pytest.mark.slow
def test_the_manifest_declares_the_colours(bundle: PolicyBundle, tmp_path: Path) -> None:
    assert bundle.things is not None
    assert bundle.things.bodies == ("object",)
    assert set(bundle.things.colours) == set(COLOURS)
    assert bundle.check_parity() < 1e-5
    with pytest.raises(BundleError, match="things"):
        PolicyBundle.load(replace(bundle, things=None).save(tmp_path / "undeclared"))


@pytest.mark.slow
def test_it_warms_up_and_does_not_start_without_being_asked(bundle: PolicyBundle) -> None:
    loop = make(bundle)
    loop.warm_up()
    with pytest.raises(RefusalError, match=r"no thing is asked for; name one .*: red, blue, green"):
        loop.start()
    loop.thing.ask("blue")
    loop.start()
    loop.step()
    assert loop.thing.name == "blue"


@pytest.mark.slow
def test_the_action_depends_on_what_is_asked_for(bundle: PolicyBundle) -> None:
    assert bundle.things is not None
    seen = {name: bundle.parity[f"observation.{name}"][0] for name in bundle.observation.names}
    red, green = (
        bundle.act({**seen, ASKED_COLOURS: bundle.things.asked(name)}, bundle.fresh_memory())
        for name in ("red", "green")
    )
    assert np.abs(red - green).max() > 1e-6


@pytest.mark.slow
def test_another_thing_resets_the_memory_and_done(bundle: PolicyBundle) -> None:
    loop = make(bundle)
    loop.thing.ask("red")
    loop.start()
    loop.step()
    loop._memory[COMPLETION][:] = 3.0
    loop.thing.ask("red")  # the same again changes nothing
    assert loop.step().done
    fresh = make(bundle)
    fresh.thing.ask("green")
    fresh.start()
    loop.thing.ask("green")
    changed = loop.step()
    assert not changed.done
    assert loop.thing.name == "green"
    expected = fresh.step()
    np.testing.assert_allclose(changed.action, expected.action, atol=1e-5)


@pytest.mark.slow
def test_what_it_cannot_be_asked_for_is_refused_and_it_goes_on(bundle: PolicyBundle) -> None:
    loop = make(bundle)
    loop.thing.ask("yellow")
    loop.start()
    with pytest.raises(SpecError, match=r"'mauve' is none .* expected red, blue, green"):
        loop.thing.ask("mauve")
    loop.step()
    assert loop.thing.name == "yellow"


def test_a_policy_for_one_thing_cannot_be_asked() -> None:
    loop = make(tiny_bundle())
    with pytest.raises(SpecError, match="is about one thing"):
        loop.thing.ask("red")
    loop.start()
    assert loop.step().done is None
