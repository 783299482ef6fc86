"""Chains of serial bus servos: protocol, bus, LeRobot's calibration files, and what stops the arm. No ROS."""
