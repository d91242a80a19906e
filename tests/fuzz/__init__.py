"""Hostile inputs for every parser of untrusted bytes: `python -m tests.fuzz`, see SECURITY.md."""
