"""The ONNX runtime: its options, its devices, and the way of arrays into it and out again."""
