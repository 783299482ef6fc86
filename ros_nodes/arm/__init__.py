"""The arm's side: inputs, controllers, grippers."""
