"""What runs a trained network on crops."""
