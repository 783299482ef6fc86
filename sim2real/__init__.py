"""The command `sim2real`: one small file a group of sub-commands.

Importing it registers the tasks with Gymnasium, for `gymnasium.make("sim2real/PickPlace-v0")`.
"""

from sim.registration import register_environments

register_environments()
