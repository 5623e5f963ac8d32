"""Checks on perturbed inputs: does the output follow the attribution?"""
