"""ONNX: graphs written as models, and files verified against what they came from."""
