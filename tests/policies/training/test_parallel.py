"""Two jobs of torch at once."""

import threading
import time

import pytest
import torch

from policies.training.parallel import Check, run_parallel


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_both_are_done_with_threads_of_their_own(threads: int) -> None:
    seen = {}
    run_parallel(
        lambda: seen.update(main=(threading.get_ident(), torch.get_num_threads())),
        lambda check: seen.update(beside=(threading.get_ident(), torch.get_num_threads())),
    )
    assert (seen["main"][0] == seen["beside"][0]) == (threads == 1)
    assert seen["main"][1] == seen["beside"][1] == 1
    assert torch.get_num_threads() == threads


def test_they_run_at_the_same_time_where_there_are_two_threads() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    both = threading.Barrier(2, timeout=20)
    try:
        run_parallel(lambda: both.wait() and None, lambda check: both.wait() and None)
    finally:
        torch.set_num_threads(before)


def test_what_either_raises_is_raised_and_the_other_given_up(threads: int) -> None:
    checks = []

    def fail(*_: object) -> None:
        raise ValueError("no")

    def long(check: Check) -> None:
        for _ in range(2000):
            time.sleep(0.01)
            check()
            checks.append(1)

    began = time.monotonic()
    with pytest.raises(ValueError, match="no"):
        run_parallel(fail, long)
    assert time.monotonic() - began < 10
    assert len(checks) < 500
    with pytest.raises(ValueError, match="no"):
        run_parallel(lambda: None, fail)
    assert torch.get_num_threads() == threads
