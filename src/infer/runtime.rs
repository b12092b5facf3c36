//! ONNX Runtime and the ladder of execution providers.
