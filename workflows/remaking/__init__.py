"""What results files should hold: every number computed again from what they store, one module per kind of file."""
