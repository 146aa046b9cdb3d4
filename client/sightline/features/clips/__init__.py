"""The video around events: kept as files, without decoding or encoding anything. ``docs/clips.md``."""
