"""The operator console's parts; ``console_port.py`` puts them together."""
