"""The algorithms: pure functions of plain numbers, free of torch and of input and output."""
