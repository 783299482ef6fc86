"""Learning from recorded demonstrations: their episodes, labels from the data itself, and cloning."""
