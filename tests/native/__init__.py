"""Tests of the native file."""
