"""Where the tasks' cameras stand."""

from __future__ import annotations

from sim.camera import CameraModel

FRONT = CameraModel.looking_at(
    "front", eye=(1.25, 0.0, 0.70), target=(0.45, 0.0, 0.14), height=84, width=84, fov_y_deg=46
)
"""Opposite the arm: sees the table from x = 0.3 to 0.7 m, and the hand."""
