"""Trained networks outside of kd: written as ONNX or as a torch.export program, and ONNX read back with suspicion."""
