"""Fixtures around the test bed, for all tests."""
