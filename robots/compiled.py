"""numba's `njit` where numba is installed, else a decorator without effect: the robot side has no numba."""

from __future__ import annotations

try:
    from numba import njit

    COMPILED = True
except ImportError:
    COMPILED = False

    def njit(**_options):  # type: ignore[no-redef]
        """Leave the function as it is: plain Python gives the same numbers, more slowly."""
        return lambda function: function
