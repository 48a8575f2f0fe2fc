"""Checkpoint -> ONNX for models that are one pass over their input; needs torch, runs in a child process."""
