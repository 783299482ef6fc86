"""An arm in another engine that stands in for the real one; its values are hidden from training."""
