"""What a ladder was told and what it decided, as lines of JSON: written by `run --record`, read by `replay`."""
