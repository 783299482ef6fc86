"""Arms that this project describes, where their vendors' files are, and where an arm reaches."""
