"""One module per schema version. A released one is never edited: it must not import the live schema."""
