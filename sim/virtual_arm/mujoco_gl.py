"""Imports MuJoCo after choosing its OpenGL backend, which it reads once, when imported.

Everything in `sim` takes `mujoco` from here.
"""

from __future__ import annotations

import ctypes
import os

INSTALL_HINT = (
    "for MuJoCo's own renderer: apt install libegl1 libgles2 libegl-mesa0 libgl1-mesa-dri (EGL), "
    "or apt install libosmesa6 (OSMesa)"
)
_LIBRARIES = {"egl": ("libEGL.so.1", "libEGL.so.0"), "osmesa": ("libOSMesa.so.8", "libOSMesa.so.6")}


def select_backend() -> str:
    """Set MUJOCO_GL, unless it is set already, and return it: `egl`, `osmesa`, or `disabled` where neither is there.

    MuJoCo's default would look for a window system, which a robot's computer need not have.
    """
    chosen = os.environ.get("MUJOCO_GL")
    if not chosen:
        chosen = next((backend for backend in _LIBRARIES if _loads(backend)), "disabled")
        os.environ["MUJOCO_GL"] = chosen
    # One thread of a software renderer: more would take the cores from the servo loop and the policy
    os.environ.setdefault("LP_NUM_THREADS", "1")
    return chosen


def _loads(backend: str) -> bool:
    for library in _LIBRARIES[backend]:
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        return True
    return False


BACKEND = select_backend()

try:
    import mujoco as mujoco
except ModuleNotFoundError:  # any other failure of the import speaks for itself
    raise ImportError(
        "the virtual arm runs in MuJoCo, which is not installed: pip install 'sim2real-arms[train]'"
    ) from None
