"""Is the detector still as good as it was? Numbers of every hour, and by consent a sample of pictures.

``docs/drift.md`` says how they are used; ``sightline drift`` reads them.
"""
