"""The arm's shapes: meshes to draw, convex hulls to keep apart."""
