"""Training an embedding network on crop shards."""
