"""Synthetic clips: drawn people, groups of photographic faces, voices and background sounds, and a camera's faults."""
