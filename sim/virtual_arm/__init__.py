"""An arm in another engine that stands in for the real one; training never learns its values."""
