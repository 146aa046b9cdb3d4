"""The operator console's parts; ``app.py`` is its table of contents."""
