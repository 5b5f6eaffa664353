"""Pipelines that tests make or load, jobs for them, and what their images show."""
