"""Inertial parameters and friction of an arm, from its torques."""
