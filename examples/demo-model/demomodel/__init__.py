"""A tiny Stable Diffusion that draws eight things in seven colours on four grounds at three times of day."""
