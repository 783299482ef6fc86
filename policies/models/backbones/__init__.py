"""Image networks that others have published, up to a sixteenth of the image's resolution, and their weights."""
