"""What every training run shares: its configuration, folder, precision and threads."""
