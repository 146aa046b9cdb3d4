"""The life of a network: exported, kept as a version, measured, served, retired; extra ``models``."""
