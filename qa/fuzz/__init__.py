"""Hostile inputs for every parser of untrusted bytes: `python -m qa.fuzz`, see SECURITY.md."""
