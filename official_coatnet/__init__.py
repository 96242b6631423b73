"""CoAtNet (Dai et al., 2021, arXiv:2106.04803) for TensorFlow 2."""
