"""Intervals, tests, sequential stopping and planning."""
