"""Filters of estimated positions over an episode: where the goal and the object are."""
