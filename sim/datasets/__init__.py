"""Labelled renders, drawn independently of episodes, and the states that they show."""
