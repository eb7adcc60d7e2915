"""Models to and from other programs. Each module is imported by its name: ``from xprnn.interop import nam``."""
