"""numba's `njit` where numba is installed and not switched off, else a decorator without effect.

The robot side has no numba. Where it has, a process that may not wait for the compiler sets NUMBA_DISABLE_JIT.
"""

from __future__ import annotations

import os

try:
    if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        raise ImportError("numba is switched off")
    from numba import njit

    COMPILED = True
except ImportError:
    COMPILED = False

    def njit(**_options):  # type: ignore[no-redef]
        """Leave the function as it is: plain Python gives the same numbers, more slowly."""
        return lambda function: function
