"""Adaptation of camera policies to unlabelled target frames."""
