"""Parts of every training run: gradient descent, progress, configuration, folder, precision and threads."""
