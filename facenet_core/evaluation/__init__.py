"""Validating an embedding network: the LFW protocol and its report."""
