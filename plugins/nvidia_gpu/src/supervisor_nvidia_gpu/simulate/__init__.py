"""GPUs that are not there: named layouts, a script of what happens to them, and a probe that plays it. For trials, demos and tests."""
