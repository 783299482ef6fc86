"""Learned translation of pictures: unpaired (CycleGAN, CUT), and from randomised to canonical renderings (RCAN)."""
