"""The life of a network: exported, kept as a version, measured, served, retired; extra ``models``."""

import os

# Else onnxruntime reports over the network what it runs, and leaves a file in the temporary folder.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
