"""What a person may write in ``config.yml``."""
