"""Components of our own: plain JavaScript, given data and never markup."""
