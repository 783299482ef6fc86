"""Why episodes fail, and how visible what they are about is, in environments where both are known."""

import numpy as np
import pytest

from policies.scoring.evaluator import Evaluation, FullLengthEnv
from policies.scoring.failure_causes import (
    CAUSES,
    EpisodeRecord,
    EpisodeWatch,
    failure_shares,
    segmented,
    success_by_visibility,
)
from sim.datasets.visibility import measure_visibility
from sim.env import ArmEnv
from sim.tasks import load_task

NOMINAL = {"start_spread": 0.0}


@pytest.fixture(scope="module")
def env():
    task = load_task("pick_place")
    task.time_limit, task.hold_time = 60.0, 60.0
    env = ArmEnv(task, space="nominal", observation=("q", "image_front", *segmented(["front"])), cameras="front")
    yield env
    env.close()


def begun(env, **values):
    observation, _ = env.reset(seed=3, options={"parameters": {**NOMINAL, **values}})
    watch = EpisodeWatch(env)
    watch.begin(observation)
    return watch


def act(env, watch, action, steps):
    for _ in range(steps):
        observation, *_, info = env.step(action(env) if callable(action) else np.array(action))
        watch.step(observation, bool(info["near"]))


def test_a_body_is_as_visible_as_what_hides_it_leaves(env):
    observation, _ = env.reset(seed=3, options={"parameters": NOMINAL})
    free = measure_visibility(env, observation, "front", "object")
    assert free.share > 0.9
    assert free.is_seen
    half = observation["segmentation_front"].copy()
    rows, columns = np.nonzero(half == env.segmentation_names.index("object/0"))
    half[rows[columns < np.median(columns)], columns[columns < np.median(columns)]] = -1
    hidden = measure_visibility(env, {**observation, "segmentation_front": half}, "front", "object")
    assert 0.3 < hidden.share / free.share < 0.75
    grey = {**observation, "image_front": np.full_like(observation["image_front"], 128)}
    assert measure_visibility(env, grey, "front", "object").contrast == pytest.approx(0.0, abs=1e-9)
    assert not measure_visibility(env, grey, "front", "object").is_seen


def test_an_arm_that_rests_elsewhere_has_mislocated(env):
    watch = begun(env)
    act(env, watch, (0, 0, 0, 0, 1), 30)
    assert watch.record().cause == "mislocated"
    assert watch.record(stopped=True).cause == "stopped"


def test_what_nobody_sees_is_not_seen(env):
    watch = begun(env, object_likeness=0.0, exposure=-12.0)  # all black
    act(env, watch, (0, 0, 0, 0, 1), 30)
    assert watch.record().cause == "not seen"


def test_what_is_let_go_in_the_air_was_dropped(env):
    watch = begun(env)
    lifted = env.world.pose("object")[0][2] + 0.06
    for _ in range(150):
        act(env, watch, ArmEnv.expert, 1)
        if env.world.pose("object")[0][2] > lifted:
            break
    assert env.world.pose("object")[0][2] > lifted
    act(env, watch, (0, 0, 0, 0, 1), 35)
    assert watch.record().cause == "dropped"


def test_who_is_under_way_is_late():
    env = ArmEnv("reach", space="nominal", observation=("q", "image_front", *segmented(["front"])), cameras="front")
    watch = begun(env)
    act(env, watch, ArmEnv.expert, 6)
    assert watch.record().cause == "late"
    env.close()


def test_shares_are_of_all_episodes_and_classes_hold_all():
    records = [EpisodeRecord(0.2, 0.1, "not seen"), EpisodeRecord(0.9, 0.5, "late"), EpisodeRecord(1.0, 0.7, "late")]
    success = [False, True, False]
    shares = failure_shares(records, success)
    assert {cause: each["count"] for cause, each in shares.items()} == {
        **dict.fromkeys(CAUSES, 0),
        "not seen": 1,
        "late": 1,
    }
    assert shares["late"]["of"] == 3
    table = success_by_visibility(records, success)
    assert [(each["from"], each["count"], each["of"]) for each in table["visible"]] == [
        (0.0, 0, 1),
        (0.8, 1, 1),
        (0.95, 0, 1),
    ]
    near = np.array([[False] * 4, [True] * 4, [False] * 4])
    found = Evaluation.of(near, 2, "wild", 0, records)
    assert found.failures == shares
    assert Evaluation.of(near, 2, "wild", 0).failures == {}


def test_a_watched_environment_records_the_episode_that_was_seeded():
    env = FullLengthEnv("reach", space="nominal", observation="cameras", cameras="front", watched=True)()
    seen, _ = env.reset(seed=1)
    assert env.episode_record() is None
    ended = False
    while not ended:
        seen, _, terminated, truncated, _ = env.step(seen["expert"])
        ended = terminated or truncated
    record = env.episode_record()
    assert record.visible > 0.5
    env.reset()
    env.step(np.zeros(env.action_space.shape))
    assert env.episode_record() is record
    env.close()
