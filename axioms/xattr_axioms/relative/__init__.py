"""Checks that compare maps between two models, or two inputs."""
