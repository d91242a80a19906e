"""The stage `embed`: crops and a model become embeddings, an artifact that others read."""
