"""The demonstration: a real run over a real input, in which only the models are scripted."""
