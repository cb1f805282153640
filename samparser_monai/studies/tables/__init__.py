"""What is made of results: the pages of docs/ and their pictures."""
