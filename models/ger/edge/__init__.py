"""The shipped network: its layers, the sets it is trained on, its training in stages and its figures."""
