"""MTCNN, the face detector: pyramid, proposals, suppression, refinement and its runtimes."""
