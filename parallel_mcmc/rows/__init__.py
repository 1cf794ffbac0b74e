"""Functions of rows of data, evaluated as a CPU does it best."""
