"""The command line `facenet`: `python -m flows.cli` is the same."""
