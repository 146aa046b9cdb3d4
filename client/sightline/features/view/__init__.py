"""Does a camera still show what it was set up to show? ``docs/view.md`` has the meaning."""
