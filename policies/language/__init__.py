"""Commands in words: a frozen text encoder, slots learned on its token states, and goals that a policy can be given.

Robot side: numpy alone, except `fitting`, which needs torch.
"""
