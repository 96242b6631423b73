"""CoAtNet (Dai et al., 2021, arXiv:2106.04803) for TensorFlow 2."""

import importlib

from official_coatnet import stack

# Before anything imports TensorFlow, if it may be.
stack.prepare()

__version__ = '0.1.0'

# Where what the package itself offers is; imported when it is asked for, since
# it wants TensorFlow.
_OFFERED = {'from_pretrained': 'official_coatnet.pretrained.loading'}


def __getattr__(name: str):
  if name in _OFFERED:
    return getattr(importlib.import_module(_OFFERED[name]), name)
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
