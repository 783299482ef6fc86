"""Files and processes of the machine: untrusted input, whole output, locks, children that end with their parent."""
