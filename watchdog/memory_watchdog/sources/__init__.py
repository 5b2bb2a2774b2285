"""Where numbers come from: one file a source. A source reads and names what it could not read; it never judges."""
