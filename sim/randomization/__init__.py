"""What varies from episode to episode, and how its ranges grow."""
