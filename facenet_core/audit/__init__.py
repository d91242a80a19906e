"""What is wrong with a set of faces, by their embeddings; the stage `audit`."""
