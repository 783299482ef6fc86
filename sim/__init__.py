"""Randomised simulation of arms, cameras and tasks; the only room that imports pybullet."""
