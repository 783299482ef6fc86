"""Calibrate a camera: its lens, where it stands or is mounted, and where the arm it sees says it stands."""
