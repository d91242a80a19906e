"""Looking at artifacts: what is in them, where they come from, what their pictures look like."""
