"""Imitation of scripted experts, from state and from cameras."""
