"""From joint recordings to an identified arm and a posterior over its parameters."""
