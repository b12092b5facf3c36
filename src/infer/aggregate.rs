//! From a network's answers to a reading: temperature, smoothing, hysteresis, withholding.
