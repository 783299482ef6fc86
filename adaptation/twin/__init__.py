"""The next recording for a fit, by what is still uncertain, and what is kept of a fit between two calls."""
