"""A spoken command: espeak-ng's voice en-gb, half a second of silence before it and one after."""

from pathlib import Path

SPOKEN = Path(__file__).parent / "go_above_the_blue_cube.ogg"
COMMAND = "go above the blue cube"
