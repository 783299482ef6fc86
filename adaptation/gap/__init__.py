"""The distance between simulated and target images."""
