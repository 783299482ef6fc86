"""The command `sim2real`: one small file a group of sub-commands."""
