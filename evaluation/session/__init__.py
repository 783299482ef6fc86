"""Registered protocols, trials, and the append-only store."""
