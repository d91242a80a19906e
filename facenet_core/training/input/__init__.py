"""What a training step reads: crops, their order, labels and batches."""
