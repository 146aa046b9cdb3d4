"""Parts of ``tools/gpu_proof.py``: figures that only a machine with a GPU can give."""
