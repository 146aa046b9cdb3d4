"""Behind ``tools/drift.py``: labelling, accuracy against a baseline, and numbers without labels."""
