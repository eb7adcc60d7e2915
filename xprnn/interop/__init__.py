"""In and out: models and arrays of other libraries. Each room imports its library where it is used."""
