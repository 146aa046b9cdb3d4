"""From a URL to frames: the only room of the live path that imports PyAV."""
