"""The training kit of edge-ger: synthetic clips, published systems and a small network, training, evaluation and
export.
"""
