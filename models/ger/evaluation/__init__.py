"""Evaluation on labelled clips: inference with an `.onnx`, metrics, faults, and the report."""
