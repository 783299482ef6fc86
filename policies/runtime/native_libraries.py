"""Imports pinocchio and coal, whose binaries must fit NumPy, with an error that says what to do.

ROS's PYTHONPATH stands before an environment's own packages: a pinocchio from apt, built for NumPy 1, then hides the
environment's and fails on its NumPy 2.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import sysconfig
import traceback
from types import ModuleType

import numpy as np

from policies.runtime.limits import SafetyError

NUMPY_1 = ("compiled using NumPy 1", "_ARRAY_API", "multiarray failed to import")
"""What NumPy 2 and the modules built for NumPy 1 say of each other."""


def coal_and_pinocchio() -> tuple[ModuleType, ModuleType]:
    """Import both.

    Raises:
        SafetyError: in one line, if that fails: the file, why, and what to do.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):  # NumPy explains itself in twenty lines
            import coal
            import pinocchio
    except ModuleNotFoundError as error:
        raise SafetyError(f"'{error.name}' is not installed; pip install sim2real-arms") from None
    except (ImportError, AttributeError, SystemError) as error:
        raise SafetyError(_reason(error, f"{said.getvalue()} {error}")) from None
    sys.stderr.write(said.getvalue())
    return coal, pinocchio


def _reason(error: BaseException, said: str) -> str:
    numpy, own = np.__path__[0], sysconfig.get_path("purelib")
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    foreign = [file for file in files if not file.startswith(("<", numpy, __file__, importlib.__path__[0]))]
    at = foreign[-1] if foreign else "coal or pinocchio"  # of several, the one that failed
    if not any(words in said for words in NUMPY_1):
        return f"{at} cannot be imported: {' '.join(said.split())}; pip install sim2real-arms"
    return (
        f"{at} was built for NumPy 1, and NumPy {np.__version__} is at {numpy}; put this environment's packages first: "
        f"export PYTHONPATH={own}:$PYTHONPATH, or remove that one"
    )
