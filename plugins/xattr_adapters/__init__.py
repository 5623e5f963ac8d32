"""Adapters to other attribution libraries, each in a module of its own that imports its library when used."""
