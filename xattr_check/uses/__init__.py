"""What a model uses of its inputs: which regions, alone and together, beside other networks."""
