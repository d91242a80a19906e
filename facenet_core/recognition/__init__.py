"""Using a model on photographs: comparing, embedding, classifying and clustering faces."""
