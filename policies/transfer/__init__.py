"""Training from an earlier policy, and its comparison with training from scratch."""
