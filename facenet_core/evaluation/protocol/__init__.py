"""The verification protocol: distances, folds, curves, intervals. Arrays in, numbers out."""
