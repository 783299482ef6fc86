"""Trials and sessions in simulation."""
