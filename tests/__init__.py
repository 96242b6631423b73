"""Tests. Whatever one imports first, the package chooses its Keras before."""

import official_coatnet  # noqa: F401
