"""The arm that simulation loads for a bundle: a built-in one by name, an arm of one's own from its file."""

from dataclasses import replace
from pathlib import Path

import pytest

from policies.bundle import BundleError
from tests.support.tiny_bundle import tiny_bundle


def test_an_arm_of_ones_own_is_found_by_the_file_of_its_training(tmp_path: Path) -> None:
    bundle = tiny_bundle()
    assert bundle.arm == "franka_panda"
    file = tmp_path / "own.json"
    own = replace(bundle, robot=replace(bundle.robot, name="own"), provenance={"config": {"robot": str(file)}})
    with pytest.raises(BundleError, match=r"its arm 'own' was described by '.*own\.json', which is not there"):
        _ = own.arm
    file.write_text("{}")
    assert own.arm == str(file)
    for strange in ({}, {"config": None}, {"config": {"robot": 7}}, {"config": {"robot": "own.txt"}}):
        with pytest.raises(BundleError, match="call from the folder in which you trained"):
            _ = replace(own, provenance=strange).arm
