"""Fast paths of a training step, each behind one door: devices, fused kernels, recomputation."""
