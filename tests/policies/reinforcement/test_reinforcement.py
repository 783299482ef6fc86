"""Reinforcement learning: every algorithm's actor in a bundle, demonstrations, hindsight, critics that know more."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.bundle import PolicyBundle
from policies.models.history_network import HistoryNetwork, history_windows
from policies.models.state_network import restore_state_network
from policies.reinforcement.actor import Actor, columns_of, copy_actor, make_actor
from policies.reinforcement.algorithms import ALGORITHMS, load_algorithm
from policies.reinforcement.columns import NamedColumns, prepare_columns
from policies.reinforcement.curricula import make_curriculum, plan_episodes, report_outcomes
from policies.reinforcement.demonstrations import (
    DemonstrationError,
    Demonstrations,
    as_tensors,
    collect_demonstrations,
    imitate,
)
from policies.reinforcement.inference import fit_inference
from policies.reinforcement.joined import join_arrays
from policies.reinforcement.learner import buffer_of, build_model, keep_demonstrations, train_critic
from policies.reinforcement.practice import PARAMETERS, PracticeEnv
from policies.reinforcement.recipe import ReinforcementRecipe, reinforcement_recipe
from policies.reinforcement.run import ReinforcementConfig, reinforce, resume_reinforcement
from policies.training.run_folder import RunError
from robots.registry import load_robot
from sim.catalogue import parameter_space
from sim.tasks import TASKS, load_task
from sim.vector.sb3_vector import Sb3ArmVectorEnv
from sim2real.command_line import main

QUIET = lambda *_: None  # noqa: E731
TINY = ReinforcementRecipe(
    steps=320,
    segment=160,
    envs=2,
    hidden=(32, 32),
    batch=40,
    rollout=40,
    random_steps=40,
    demonstrations=4,
    imitation_steps=200,
    critic_steps=20,
    validation_episodes=2,
)
SEEN = (("q", (7,)), ("dq", (7,)), ("ee_pos", (3,)), ("goal", (3,)))
NAMES = [name for name, _ in SEEN]


@pytest.fixture(scope="module")
def arms():
    vector = Sb3ArmVectorEnv(PracticeEnv("reach", space="nominal"), 2, 1)
    yield vector
    vector.close()


@pytest.fixture(scope="module")
def shown(arms) -> Demonstrations:
    return collect_demonstrations(arms, 4, 0.5, 0.5, 1, QUIET)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_copied_actor_acts_as_the_model_does_without_exploring(name: str, arms, shown: Demonstrations) -> None:
    algorithm = load_algorithm(name)
    recipe = replace(TINY, hidden=(16,), demonstrations=0 if algorithm.recurrent else 4)
    model = build_model(algorithm, recipe, arms, SEEN, (), 0)
    prepare_columns(model, as_tensors(shown.observation))
    if algorithm.off_policy:
        keep_demonstrations(model, recipe, shown, NAMES)
        train_critic(model, 5, 16)  # moves CrossQ's running normalisation, too
    network = make_actor(algorithm, SEEN, ("x", "y", "z"), recipe.hidden)
    copy_actor(model, network.eval())
    actor, states = Actor(network), None
    actor.begin(3)
    for t in range(4):
        observation = {key: array[3 * t : 3 * t + 3] for key, array in shown.observation.items()}
        given = join_arrays(observation, NAMES) if algorithm.joined else observation
        theirs, states = model.predict(
            given,
            states,
            episode_start=np.full(3, t == 0),
            deterministic=True,  # type: ignore[arg-type]
        )
        np.testing.assert_allclose(actor(observation), theirs, atol=2e-5)
    assert np.ptp(actor(observation)) > 0


def test_demonstrations_succeed_are_whole_episodes_and_survive_a_file(shown: Demonstrations, tmp_path: Path) -> None:
    ends = shown.terminated | shown.truncated
    assert ends.sum() == 4
    assert ends[-1]
    undisturbed = (shown.action == shown.expert).all(axis=1).mean()
    assert 0.2 < undisturbed < 1.0
    assert shown.reward[ends].mean() > shown.reward.mean()  # near the goal at the end
    following = shown.following["ee_pos"][:-1][~ends[:-1]]
    np.testing.assert_array_equal(following, shown.observation["ee_pos"][1:][~ends[:-1]])
    shown.save(tmp_path / "shown.npz")
    again = Demonstrations.load(tmp_path / "shown.npz", ("q", "goal"), 3)
    np.testing.assert_array_equal(again.action, shown.action)
    with pytest.raises(DemonstrationError, match=r"lack the array 'observation.opening'"):
        Demonstrations.load(tmp_path / "shown.npz", ("opening",), 3)
    with pytest.raises(DemonstrationError, match=r"'action' has shape .* expected \(\d+, 4\)"):
        Demonstrations.load(tmp_path / "shown.npz", ("q",), 4)
    replace(shown, reward=np.full_like(shown.reward, np.nan)).save(tmp_path / "nan.npz")
    with pytest.raises(DemonstrationError, match="'reward'"):
        Demonstrations.load(tmp_path / "nan.npz", ("q",), 3)
    with pytest.raises(DemonstrationError, match="cannot be read"):
        Demonstrations.load(tmp_path / "absent.npz", ("q",), 3)


def test_half_of_every_batch_is_demonstrations_and_none_is_overwritten(arms, shown: Demonstrations) -> None:
    model = build_model(load_algorithm("sac"), TINY, arms, SEEN, (), 0)
    keep_demonstrations(model, TINY, shown, NAMES)
    buffer = buffer_of(model)
    assert buffer is not None
    own = {name: np.stack([array[0], array[1]]) for name, array in shown.observation.items()}
    for _ in range(3 * buffer.buffer_size):  # wraps around more than once
        buffer.add(own, own, np.full((2, 3), 9.0), np.zeros(2), np.zeros(2), [{}, {}])
    actions = buffer.sample(40).actions.numpy()
    assert (actions[:, 0] == 9.0).sum() == 20
    assert (np.abs(actions[:20]) <= 1.0).all()


def test_imitation_comes_closer_to_the_expert(arms, shown: Demonstrations) -> None:
    for name in ("ppo", "td3"):
        algorithm = load_algorithm(name)
        model = build_model(algorithm, TINY, arms, SEEN, (), 0)
        prepare_columns(model, as_tensors(shown.observation))
        first = imitate(model, algorithm, shown, NAMES, 1, 64, 0)
        assert imitate(model, algorithm, shown, NAMES, 300, 64, 0) < 0.3 * first


def test_only_critics_see_what_was_drawn() -> None:
    make = PracticeEnv("reach", space="full", observation="robot", asymmetric=True)
    assert make.known() == ("goal",)
    env = make()
    observation, info = env.reset(seed=3)
    drawn = dict(zip(env.unwrapped.parameter_space.names, observation[PARAMETERS]))  # type: ignore[attr-defined]
    for name, value in drawn.items():
        assert value == pytest.approx(info["parameters"][name], rel=1e-5)
    other = {**observation, "goal": observation["goal"] + 1.0, PARAMETERS: observation[PARAMETERS] + 1.0}
    env.close()
    vector = Sb3ArmVectorEnv(make, 2, 1)
    seen = (("q", (7,)), ("dq", (7,)), ("ee_pos", (3,)))
    known = (("goal", (3,)), (PARAMETERS, observation[PARAMETERS].shape))
    for name in ("sac", "td3", "ppo", "recurrent_ppo"):
        model = build_model(load_algorithm(name), replace(TINY, asymmetric=True), vector, seen, known, 0)
        both = as_tensors({key: np.stack([observation[key], other[key]]) for key in observation})
        prepare_columns(model, both)
        blind = 0
        for part, columns in model.policy.named_modules():
            if isinstance(columns, NamedColumns):
                told = columns(both)
                same = bool(torch.equal(told[0], told[1]))
                assert same is not part.startswith(("critic", "vf_")), part
                blind += same
        assert blind >= 1
    vector.close()


@pytest.mark.parametrize("task", sorted(set(TASKS) - {"insert"}))
def test_hindsight_replaces_the_very_goal_that_the_policy_sees(task: str) -> None:
    env = PracticeEnv(task, space="nominal", reward="sparse", hindsight=True)()
    observation, _ = env.reset(seed=1)
    np.testing.assert_allclose(observation["goal"], observation["desired_goal"], atol=1e-6)
    reached = observation["achieved_goal"]
    assert env.compute_reward(reached, observation["desired_goal"], {}) == -1.0
    assert env.compute_reward(reached, reached, {}) == 0.0
    space = env.observation_space
    columns = NamedColumns(space, (("goal", (3,)), ("ee_pos", (3,))), ())
    batch = as_tensors({key: array[None] for key, array in observation.items()})
    elsewhere = {**batch, "desired_goal": batch["desired_goal"] + 0.5}
    assert not torch.equal(columns(batch), columns(elsewhere))
    env.close()


def test_a_curriculum_decides_what_the_next_episodes_are(arms) -> None:
    space = parameter_space(load_task("reach"), load_robot("franka_panda")).preset("nominal")
    wide = parameter_space(load_task("reach"), load_robot("franka_panda")).preset("full")
    recipe = replace(TINY, curriculum="adr")
    curriculum = make_curriculum(recipe, wide, 10)
    draws = plan_episodes(curriculum, arms, 40, 10, [1])
    assert [len(own) for own in draws] == [5, 5]
    arms.seed(1)
    arms.reset()
    told = [info["parameters"] for info in arms.reset_infos]
    for own, parameters in zip(draws, told):
        assert parameters["object_mass"] == pytest.approx(own[0].parameters["object_mass"])
    report_outcomes(curriculum, arms, draws)  # no episode has ended: nothing to report, nothing grows
    assert curriculum.share == 0.0
    assert plan_episodes(make_curriculum(TINY, space, 10), arms, 40, 10, [1]) == []
    arms.env_method("plan", [])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["td3", "crossq", "recurrent_ppo"])  # CrossQ is SAC with batch normalisation
def test_a_killed_run_resumes_without_a_seam(name: str, tmp_path: Path) -> None:
    recurrent, infers = name == "recurrent_ppo", name == "td3"
    recipe = replace(TINY, demonstrations=0 if recurrent else 2, curriculum="adr" if name == "crossq" else "fixed")
    recipe = replace(recipe, imitation_steps=20, validation_episodes=1)
    if infers:
        recipe = replace(recipe, latent=3, history=4, inference_steps=5)
    config = ReinforcementConfig(
        tmp_path / "whole", algorithm=name, randomise="mild", workers=1, evaluation_episodes=1, recipe=recipe
    )
    whole = reinforce(config, QUIET)
    killed = replace(config, out=tmp_path / "killed")

    def kill(stage: str, share: float, text: str) -> None:
        if stage == "practice" and share > 0.6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reinforce(killed, kill)
    resumed = resume_reinforcement(tmp_path / "killed", QUIET)
    for part, weights in PolicyBundle.load(tmp_path / "whole" / "last").weights.items():
        np.testing.assert_array_equal(weights, PolicyBundle.load(tmp_path / "killed" / "last").weights[part], part)
    assert whole.provenance["metrics"]["evaluation"] == resumed.provenance["metrics"]["evaluation"]
    assert resumed.check_parity() <= 1e-5
    rows = [(tmp_path / run / "metrics.csv").read_text().splitlines() for run in ("whole", "killed")]
    assert [row.split(",")[:5] for row in rows[0]] == [row.split(",")[:5] for row in rows[1]]
    with pytest.raises(RunError, match="is finished"):
        resume_reinforcement(tmp_path / "killed", QUIET)
    if recurrent:
        assert set(resumed.memory) == {"hidden", "cell"}
    elif infers:
        assert resumed.memory == {"history": (4, 17), "last_action": (3,)}
    else:
        restore_state_network(resumed)  # transfer goes on from here


def test_a_past_is_what_the_network_would_have_carried() -> None:
    rng = np.random.default_rng(0)
    arrays = (("q", (7,)), ("dq", (7,)), ("goal", (3,)))
    torch.manual_seed(0)
    network = HistoryNetwork(arrays, ("x", "y", "z"), (8,), 2, 3)
    q, dq, goal = (rng.normal(size=(9, 2, n)).astype(np.float32) for n in (7, 7, 3))
    begins = np.zeros((9, 2), bool)
    begins[0] = True
    begins[5, 1] = True  # the second arm starts over
    actor = Actor(network)
    carried, actions = [], []
    actor.begin(2)
    for t in range(9):
        if t == 5:
            for part in actor._memory:
                part[1] = 0.0
        actions.append(actor({"q": q[t], "dq": dq[t], "goal": goal[t]}))
        carried.append(actor._memory[0].numpy().copy())
    found = history_windows(np.concatenate([q, dq], axis=2), np.stack(actions), begins, 3)
    np.testing.assert_allclose(found, np.stack(carried), atol=1e-6)
    assert not found[5, 1, :2].any()  # nothing from before it started over
    with pytest.raises(ValueError, match="needs 'q', but sees goal"):
        HistoryNetwork((("goal", (3,)),), ("x",), (8,), 2, 3)


@pytest.mark.slow
def test_a_delay_is_inferred_from_the_past_of_an_arm_that_wanders() -> None:
    """What the policy is told is the drawn delay; how its joints follow its actions tells it."""
    timing = parameter_space(load_task("reach"), load_robot("franka_panda")).preset("full").subset("timing")
    make = PracticeEnv("reach", space=timing, asymmetric=True)
    vector = Sb3ArmVectorEnv(make, 8, 2)
    try:
        parameters = vector.observation_space.spaces[PARAMETERS].shape  # type: ignore[attr-defined]
        recipe = replace(TINY, steps=8 * 600, envs=8, latent=1, history=12, asymmetric=True)
        model = build_model(load_algorithm("sac"), recipe, vector, SEEN, ((PARAMETERS, parameters),), 0)
        buffer = buffer_of(model)
        assert buffer is not None
        rng = np.random.default_rng(1)
        vector.seed(1)
        seen = vector.reset()
        action = np.zeros((8, 3), np.float32)
        prepared = [seen]
        for t in range(600):
            if t % 20 == 0:  # many short episodes: each has but one delay
                seen = vector.reset()
            if t % 4 == 0:
                action = rng.uniform(-1, 1, (8, 3)).astype(np.float32)
            following, reward, done, infos = vector.step(action)
            buffer.add(seen, following, action, reward, done, infos)
            seen = following
            prepared.append(seen)
        prepare_columns(model, as_tensors({name: np.concatenate([s[name] for s in prepared]) for name in seen}))
        columns = columns_of(model)
        (order,) = vector.get_attr("parameter_space", [0])
        with torch.no_grad():  # the latent becomes the drawn delay, and nothing else
            first, _, last, _ = columns._encoder  # type: ignore[misc]
            for layer in (first, last):
                layer.weight.zero_()
                layer.bias.zero_()
            first.weight[0, order.names.index("action_delay_steps")] = 1.0
            first.weight[1, order.names.index("action_delay_steps")] = -1.0
            last.weight[0, 0], last.weight[0, 1] = 0.5, -0.5
        network = make_actor(load_algorithm("sac"), SEEN, ("x", "y", "z"), recipe.hidden, 1, 12)
        copy_actor(model, network)
        shown = fit_inference(model, buffer, 20, network, 600, 0)  # type: ignore[arg-type]
        assert shown > 0.3
        buffer.actions[:] = rng.permutation(buffer.actions.reshape(-1, 3)).reshape(buffer.actions.shape)
        assert fit_inference(model, buffer, 20, network, 600, 0) < shown - 0.2  # type: ignore[arg-type]
    finally:
        vector.close()


@pytest.mark.slow
def test_from_the_command_line_with_hindsight(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "reach"
    options = ["--recipe.steps", "320", "--recipe.segment", "320", "--recipe.envs", "2", "--recipe.demonstrations", "2"]
    options += ["--recipe.hidden", "16", "--recipe.imitation-steps", "20", "--recipe.critic-steps", "5"]
    options += ["--recipe.validation-episodes", "2", "--evaluation-episodes", "2", "--workers", "1"]
    options += ["--recipe.hindsight", "--recipe.reward", "sparse", "--recipe.asymmetric", "--randomise", "mild"]
    command = ["train", "--algorithm", "tqc", "--task", "reach", "--out", str(out), *options]
    assert main(command) == 0
    assert "held to the end" in capsys.readouterr().out
    assert json.loads((out / "config.json").read_text())["recipe"]["hindsight"] is True
    assert main(command) != 0
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("ppo", {"hindsight": True, "reward": "sparse"}, "replays goals, which PPO cannot"),
        ("sac", {"hindsight": True}, "choose --recipe.reward sparse"),
        ("sac", {"discount": 1.0}, "discount is 1.0"),
        ("sac", {"batch": 0}, "batch is 0"),
        ("sac", {"demonstration_share": 1.5}, "from 0 to 1"),
        ("sac", {"segment": 150}, "whole segments"),
        ("ppo", {"rollout": 60}, "a multiple of 120"),
        ("ppo", {"batch": 33}, "no multiple of the batch of 33"),
        ("recurrent_ppo", {}, "does not imitate"),
        ("sac", {"hidden": ()}, "hidden is"),
        ("crossq", {"latent": 4}, "which CrossQ does not have by name"),
        ("sac", {"latent": 4, "hindsight": True, "reward": "sparse"}, "do not go together"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(name: str, change: dict, message: str, tmp_path: Path) -> None:
    config = ReinforcementConfig(tmp_path / "run", algorithm=name, recipe=replace(TINY, **change))
    with pytest.raises(ValueError, match=message):
        config.validate()
    assert not (tmp_path / "run").exists()


def test_unknown_algorithms_and_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown algorithm 'a3c'; known are imitation, ppo, sac"):
        ReinforcementConfig(tmp_path / "run", algorithm="a3c", recipe=TINY).validate()
    with pytest.raises(ValueError, match=r"'image_front' is a picture; learn from 'state'.* --observation cameras'"):
        ReinforcementConfig(tmp_path / "run", observation="cameras", recipe=TINY).validate()
    blind = replace(TINY, hindsight=True, reward="sparse")
    with pytest.raises(ValueError, match="hindsight replaces the array 'goal'"):
        ReinforcementConfig(tmp_path / "run", observation="robot", recipe=blind).validate()
    with pytest.raises(ValueError, match="'insert' succeeds at some places only"):
        ReinforcementConfig(tmp_path / "run", task="insert", recipe=blind).validate()
    for algorithm in ALGORITHMS:
        reinforcement_recipe(algorithm).validate(load_algorithm(algorithm))
