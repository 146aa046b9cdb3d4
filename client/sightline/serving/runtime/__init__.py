"""What the Python backends of ``model_repository`` import inside Triton."""
