"""Networks that turn a face crop into an embedding."""
