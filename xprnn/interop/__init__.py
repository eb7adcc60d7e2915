"""In and out: models and arrays of others. Each room is imported by its name: ``from xprnn.interop import nam``."""
