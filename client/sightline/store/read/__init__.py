"""What the console and the commands read from the database."""
