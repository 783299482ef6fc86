"""The demo: the product's main job end to end, on the virtual arm."""
