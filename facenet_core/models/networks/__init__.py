"""The networks, in Keras: one module an architecture, and the registry of their names."""
