"""Programs for machines with a GPU: the plan builder of the Triton container and the proof of its figures."""
