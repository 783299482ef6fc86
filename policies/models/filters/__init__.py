"""Filters over the detections of an episode: where goal and object are."""
