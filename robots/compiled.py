"""numba's `njit` where numba is installed and not switched off, else a decorator without effect.

Compiled functions are kept on disk; where they cannot be, the next process compiles again, and nothing else fails.

The robot side has no numba. Where it has, a process that may not wait for the compiler sets NUMBA_DISABLE_JIT.
"""

from __future__ import annotations

import contextlib
import os

try:
    if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        raise ImportError("numba is switched off")
    import numba

    COMPILED = True

    def njit(**options):
        """Compile a function as numba's `njit` does; a disk without space for the result is no error."""

        def compiled(function):
            dispatcher = numba.njit(**options)(function)
            save = dispatcher._cache.save_overload

            def save_if_possible(*overload) -> None:
                with contextlib.suppress(OSError):
                    save(*overload)

            dispatcher._cache.save_overload = save_if_possible
            return dispatcher

        return compiled

except ImportError:
    COMPILED = False

    def njit(**_options):
        """Leave the function as it is: plain Python gives the same numbers, more slowly."""
        return lambda function: function
