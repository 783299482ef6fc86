import json
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from evaluation.session.protocol import (
    PlacementArea,
    PlannedPolicy,
    Protocol,
    ProtocolError,
    canonical_json,
    load,
    register_protocol,
)


def make_protocol(**changes) -> Protocol:
    protocol = Protocol(
        name="tuesday",
        task="reach",
        policies=tuple(PlannedPolicy(name, digit * 64) for name, digit in (("a", "1"), ("b", "2"), ("c", "3"))),
        trials=30,
        seed=7,
        workspace=PlacementArea(0.35, 0.65, -0.2, 0.2),
        success_radius=0.03,
        hold_time=0.5,
        timeout=6.0,
    )
    return replace(protocol, **changes)


def test_a_registered_protocol_comes_back(tmp_path):
    registration = register_protocol(make_protocol(), tmp_path / "p.json")
    loaded = load(tmp_path / "p.json", registration.sha256)
    assert loaded == registration
    assert loaded.protocol.schedule() == make_protocol().schedule()
    assert loaded.registered_at.endswith("+00:00")


def test_canonical_json_has_one_form():
    assert canonical_json({"b": (1, 2.5), "a": "é"}) == canonical_json({"a": "é", "b": [1, 2.5]})
    with pytest.raises(ValueError, match="Out of range"):
        canonical_json(math.nan)


def edit(path, change) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_reformatting_the_file_is_no_edit(tmp_path):
    registration = register_protocol(make_protocol(), tmp_path / "p.json")
    edit(tmp_path / "p.json", lambda d: None)
    assert load(tmp_path / "p.json") == registration


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("trials", 20),
        ("seed", 8),
        ("success_radius", 0.05),
        ("timeout", 60.0),
        ("stop", "sequential"),
        ("task", "push"),
    ],
)
def test_an_edited_field_is_named(tmp_path, field, value):
    path = tmp_path / "p.json"
    register_protocol(make_protocol(), path)
    edit(path, lambda d: d["protocol"].update({field: value}))
    with pytest.raises(ProtocolError, match=f"edited after its registration: {field};"):
        load(path)


def test_every_edited_field_is_named(tmp_path):
    path = tmp_path / "p.json"
    register_protocol(make_protocol(), path)

    def change(d):
        d["protocol"]["policies"][0]["bundle"] = "f" * 64
        d["protocol"]["workspace"]["x_low"] = 0.4
        d["registered_at"] = "2001-01-01T00:00:00+00:00"
        d["protocol"]["extra"] = 1
        del d["protocol"]["alpha"]

    edit(path, change)
    with pytest.raises(ProtocolError, match="alpha, extra, policies, registered_at, workspace;"):
        load(path)


def test_an_edit_that_also_edits_a_hash_is_refused(tmp_path):
    path = tmp_path / "p.json"
    register_protocol(make_protocol(), path)
    other = register_protocol(make_protocol(trials=20), tmp_path / "other.json")
    hashes = json.loads((tmp_path / "other.json").read_text())["fields"]

    def change(d):
        d["protocol"]["trials"] = 20
        d["fields"]["trials"] = hashes["trials"]

    edit(path, change)
    with pytest.raises(ProtocolError, match=r"the file says .* edited after its registration"):
        load(path)
    assert load(tmp_path / "other.json") == other


def test_another_plan_with_a_right_hash_is_refused(tmp_path):
    first = register_protocol(make_protocol(), tmp_path / "p.json")
    register_protocol(make_protocol(trials=20), tmp_path / "other.json")
    with pytest.raises(ProtocolError, match=f"expected {first.sha256}: it is another plan"):
        load(tmp_path / "other.json", first.sha256)


def test_registering_twice_is_refused(tmp_path):
    register_protocol(make_protocol(), tmp_path / "p.json")
    before = (tmp_path / "p.json").read_text()
    with pytest.raises(ProtocolError, match="exists already"):
        register_protocol(make_protocol(trials=5), tmp_path / "p.json")
    assert (tmp_path / "p.json").read_text() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "cannot be read"),
        ("[1]", "holds list"),
        ('{"protocol": {}}', r"holds \['protocol'\], expected"),
    ],
)
def test_a_file_that_is_no_protocol_is_refused(tmp_path, text, message):
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(ProtocolError, match=message):
        load(tmp_path / "p.json")
    with pytest.raises(ProtocolError, match="cannot be read"):
        load(tmp_path / "absent.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policies": ()}, "at least one"),
        ({"policies": (PlannedPolicy("a", "1" * 64),) * 2}, "a name of its own"),
        ({"policies": (PlannedPolicy("a", "abc"),)}, "bundle of 'a' is 'abc'"),
        ({"task": ""}, "task is empty"),
        ({"trials": 0}, "trials is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"workspace": PlacementArea(0.6, 0.3, 0, 1)}, "low < high"),
        ({"workspace": PlacementArea(0.3, math.inf, 0, 1)}, "finite bounds"),
        ({"success_radius": 0.0}, "success_radius is 0.0"),
        ({"timeout": math.inf}, "timeout is inf"),
        ({"hold_time": 6.0}, "less than the timeout"),
        ({"alpha": 5.0}, "alpha is 5.0"),
        ({"order": "best first"}, "order is 'best first'"),
        ({"stop": "sequential"}, "with 3 policies"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused(tmp_path, changes, message):
    with pytest.raises(ProtocolError, match=message):
        register_protocol(make_protocol(**changes), tmp_path / "p.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("trials", [1, 2, 3, 7, 30, 97])
@pytest.mark.parametrize("workspace", [PlacementArea(0.35, 0.65, -0.2, 0.2), PlacementArea(0, 0.1, 0, 2)])
def test_places_are_stratified(trials, workspace):
    """Every cell of equal area holds exactly one place: recount them from the cells' definition."""
    protocol = make_protocol(trials=trials, workspace=workspace)
    places = np.array([[p["x"], p["y"]] for p in protocol.initial_conditions()])
    assert places.shape == (trials, 2)
    x = (places[:, 0] - workspace.x_low) / (workspace.x_high - workspace.x_low)
    y = (places[:, 1] - workspace.y_low) / (workspace.y_high - workspace.y_low)
    assert ((x >= 0) & (x < 1) & (y >= 0) & (y < 1)).all()
    order = np.argsort(x)
    ratio = (workspace.x_high - workspace.x_low) / (workspace.y_high - workspace.y_low)
    rows = min(trials, max(1, round(math.sqrt(trials * ratio))))
    bounds = np.round(np.linspace(0, trials, rows + 1)).astype(int)
    for start, stop in pairwise(bounds):
        row = order[start:stop]
        assert (x[row] >= start / trials - 1e-12).all()
        assert (x[row] <= stop / trials + 1e-12).all()
        assert sorted((y[row] * (stop - start)).astype(int)) == list(range(stop - start))


def test_places_are_unbiased_and_in_random_order():
    means, firsts = [], []
    for seed in range(300):
        places = make_protocol(seed=seed, trials=10).initial_conditions()
        means.append(np.mean([p["x"] for p in places]))
        firsts.append(places[0]["x"])
    assert np.mean(means) == pytest.approx(0.5, abs=0.003)
    assert np.mean(firsts) == pytest.approx(0.5, abs=0.02)
    assert np.std(firsts) == pytest.approx(0.3 / math.sqrt(12), rel=0.15)


def test_every_policy_meets_the_same_conditions():
    schedule = make_protocol().schedule()
    assert len(schedule) == 90
    by_index: dict[int, list] = {}
    for planned in schedule:
        by_index.setdefault(planned.index, []).append(planned)
    for block in by_index.values():
        assert {p.policy for p in block} == {"a", "b", "c"}
        assert len({(p.seed, p.initial["x"], p.initial["y"]) for p in block}) == 1
    assert len({p.seed for p in schedule}) == 30
    assert [p.index for p in schedule] == sorted(p.index for p in schedule)  # places are done one by one


def test_order_is_random_per_place_and_balanced():
    schedule = make_protocol(trials=600).schedule()
    firsts = [schedule[i].policy for i in range(0, len(schedule), 3)]
    for name in "abc":
        assert firsts.count(name) == pytest.approx(200, abs=45)
    fixed = make_protocol(order="interleaved").schedule()
    assert [p.policy for p in fixed] == ["a", "b", "c"] * 30


def test_blinding_hides_the_names():
    # Not even a letter of its own: one that stays the same is soon known by how its policy moves
    assert {p.code for p in make_protocol().schedule()} == {""}
    assert all(p.code == p.policy for p in make_protocol(blinded=False).schedule())


def test_the_object_is_turned_anyhow_and_alike_for_all_policies():
    turns = {p.index: p.yaw for p in make_protocol(trials=200).schedule()}
    assert all(p.yaw == turns[p.index] for p in make_protocol(trials=200).schedule())
    assert stats.kstest(list(turns.values()), "uniform", (-math.pi, 2 * math.pi)).pvalue > 0.01


def test_the_seed_decides_everything():
    assert make_protocol().schedule() == make_protocol().schedule()
    assert make_protocol().schedule() != make_protocol(seed=8).schedule()
    # A longer timeout or another policy leaves the places where they are.
    fewer = make_protocol(timeout=9.0, policies=make_protocol().policies[:2])
    assert fewer.initial_conditions() == make_protocol().initial_conditions()
