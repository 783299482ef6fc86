"""What --randomise names: presets, whole spaces, and files that say what is known of a cell."""

import json
from pathlib import Path

import numpy as np
import pytest

from robots.registry import load_robot
from sim.catalogue import parameter_space
from sim.env import ArmEnv
from sim.randomization.parameters import ParameterError
from sim.randomization.space_file import chosen_space
from sim.tasks import fitted_task

PANDA = load_robot("franka_panda")
FULL = parameter_space(fitted_task("pick_place", PANDA, None), PANDA)


def written(folder: Path, name: str = "cell.json", **values: object) -> str:
    path = folder / name
    path.write_text(json.dumps(values))
    return str(path)


def test_what_is_known_does_not_vary_and_all_else_varies_as_in_the_preset(tmp_path: Path) -> None:
    space = chosen_space(written(tmp_path, preset="mild", pad_height=0.02, object_size=[0.025, 0.03]), FULL)
    drawn = [space.sample(np.random.default_rng(seed)) for seed in range(40)]
    assert {each["pad_height"] for each in drawn} == {0.02}
    sizes = [each["object_size"] for each in drawn]
    assert 0.025 <= min(sizes) < 0.0265
    assert 0.0285 < max(sizes) <= 0.03
    assert space.nominal()["object_size"] == pytest.approx(0.0275)
    mild = FULL.preset("mild")
    assert all(space[name] == mild[name] for name in FULL.names if name not in ("pad_height", "object_size"))
    assert space.name == "cell"


def test_a_scaled_parameter_is_stated_by_its_value(tmp_path: Path) -> None:
    """Many are factors in the presets."""
    space = chosen_space(written(tmp_path, preset="full", object_aspect=[0.8, 0.9]), FULL)
    assert FULL["object_aspect"].operator == "*"
    assert space["object_aspect"].range == (0.8, 0.9)


def test_a_file_may_begin_with_a_whole_space_beside_it(tmp_path: Path) -> None:
    FULL.narrowed(0.5).to_json(tmp_path / "twin.json")
    space = chosen_space(written(tmp_path, preset="twin.json", pad_height=0.02), FULL)
    assert space["pad_height"].range == (0.02, 0.02)
    assert space["object_mass"] == FULL["object_mass"].narrowed(0.5)
    assert chosen_space(str(tmp_path / "twin.json"), FULL) == FULL.narrowed(0.5)


def test_the_environment_takes_the_file(tmp_path: Path) -> None:
    env = ArmEnv("pick_place", PANDA, written(tmp_path, preset="full", pad_height=0.02))
    for seed in range(3):
        env.reset(seed=seed)
        assert env.world.pose("pad")[0][2] == pytest.approx(env.parameters["table_height"] + 0.02)
    env.close()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"preset": "untamed"}, "unknown preset 'untamed'"),
        ({"preset": "full", "pad": 0.05}, "cell.json': unknown parameter 'pad'; known are "),
        ({"preset": "full", "pad_height": "5 cm"}, r"'pad_height' is '5 cm', expected a number \[m\], or two as \[sma"),
        ({"preset": "full", "pad_height": [0.01, 0.02, 0.03]}, "expected a number"),
        ({"preset": "full", "pad_height": True}, "expected a number"),
        ({"preset": "full", "pad_height": [0.05, 0.02]}, "low 0.05 is above high 0.02; swap them"),
        ({"preset": "full", "pad_height": -0.05}, "-0.05 m, expected a positive number"),
        ({"preset": "twin.json", "pad_height": 0.05}, "twin.json' does not exist"),
        ({"pad_height": 0.05}, 'cell.json\' names no preset; begin it with "preset": "full"'),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(values: dict, said: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=said):
        chosen_space(written(tmp_path, **values), FULL)


def test_an_unknown_preset_lists_the_known() -> None:
    with pytest.raises(
        ParameterError, match="unknown preset 'untamed'; known are nominal, mild, full, wild, or give the"
    ):
        chosen_space("untamed", FULL)
