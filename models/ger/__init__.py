"""The edge-ger training kit: drawn scenes, synthetic sounds, a small fused network and its export."""
