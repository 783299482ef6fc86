"""Training that starts from an earlier policy, measured against training from scratch."""
