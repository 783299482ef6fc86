"""Protocols, statistics, sessions and reports: how much of the simulated success survives."""
