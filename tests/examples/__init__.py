"""What is added to Sightline as one new file and one line of registration; the tests run them."""
