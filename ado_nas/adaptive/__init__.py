"""Sampling that adapts: to a model, to a machine, and to what is in an image."""
