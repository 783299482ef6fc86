"""Did transfer pay? A transferred policy against one from scratch: of the same budget, or of a stored comparison."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from policies.scoring.intervals import SuccessRate, wilson
from policies.transfer.learning_curves import FROM_SCRATCH
from robots.host.reading import FileError, read_json


class NegativeTransferError(ValueError):
    """A policy from scratch does better than a transferred one."""


def compared(transferred: Mapping, scratch: Mapping) -> str:
    """Compare two evaluations, as `Evaluation.to_dict` returns them, in words; they differ if their intervals do."""
    ours, theirs = _rate(transferred), _rate(scratch)
    figures = f"transferred {_words(ours)}, from scratch {_words(theirs)} with the same budget"
    if ours.high < theirs.low:
        return f"negative transfer: {figures}; use the one from scratch, or another --tune or source"
    if ours.low > theirs.high:
        return f"transfer paid: {figures}"
    return f"{figures}: no difference that {ours.trials} episodes show"


def quoted(path: Path, task: str, robot: str, tune: str) -> str:
    """Quote what the stored comparison `path` found for `tune` at its largest budget.

    Raises:
        FileError: if the file is no comparison, or one of another task, arm or mode.
        NegativeTransferError: if the interval of the mode's mean success lies below scratch's mean.
    """
    report = read_json(path, "comparison")
    try:
        methods = report["methods"]
        about = report["task"], report["robot"]
        if about != (task, robot):
            raise FileError(f"comparison '{path}' is of {' on '.join(about)}, expected {task} on {robot}")
        if tune not in methods or FROM_SCRATCH not in methods:
            raise FileError(f"comparison '{path}' has {', '.join(methods)}, expected {FROM_SCRATCH} and {tune}")
        scratch, ours = methods[FROM_SCRATCH]["mean"][-1], methods[tune]["mean"][-1]
        low, high = methods[tune]["low"][-1], methods[tune]["high"][-1]
        figures = f"'{path}': '{tune}' {ours:.2f} [{low:.2f}, {high:.2f}], from scratch {scratch:.2f}"
    except (KeyError, IndexError, TypeError, ValueError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"comparison '{path}' is none that compare-transfer wrote: {error!r}") from None
    if high < scratch:
        raise NegativeTransferError(f"negative transfer in {figures}; train from scratch, or choose another --tune")
    return figures


def _rate(found: Mapping) -> SuccessRate:
    return wilson(round(found["success"] * found["episodes"]), found["episodes"])


def _words(rate: SuccessRate) -> str:
    return f"{rate.estimate:.3f} [{rate.low:.3f}, {rate.high:.3f}]"
