"""Pairs of images for verification: generating, reading and resolving them."""
