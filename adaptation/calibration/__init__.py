"""Calibrate a camera: intrinsics, hand-eye pose by a board, and pose by the arm's outline."""
