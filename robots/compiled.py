"""numba's `njit` where numba is installed, and nothing in its place on the robot's side, which lives without."""

from __future__ import annotations

try:
    from numba import njit

    COMPILED = True
except ImportError:  # the robot side lives without numba
    COMPILED = False

    def njit(**_options):  # type: ignore[no-redef]
        """Leave the function as it is: plain Python gives the same numbers, more slowly."""
        return lambda function: function
