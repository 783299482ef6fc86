"""See an arm in one picture: its mask and where its end effector is, learned from randomised renderings alone."""
