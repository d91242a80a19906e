"""What runs MTCNN's networks: one module a runtime."""
