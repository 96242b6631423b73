"""CoAtNet (Dai et al., 2021, arXiv:2106.04803) for TensorFlow 2."""

__version__ = '0.1.0'
