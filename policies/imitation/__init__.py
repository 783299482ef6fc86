"""Imitation of scripted experts, from state and from cameras: DAgger, perception, and the training runs."""
