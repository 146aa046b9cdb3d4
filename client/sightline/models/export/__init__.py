"""From a checkpoint or an ONNX file to the graphs that are served."""
