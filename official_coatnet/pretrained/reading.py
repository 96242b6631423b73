"""The arrays in a file of weights, by their names in the other package."""

import os
from collections.abc import Callable

import numpy as np

from official_coatnet import extras
from official_coatnet.pretrained import hub

State = dict[str, np.ndarray]


def read_state(path: str) -> State:
  """Reads a file of weights: .safetensors, .h5 or .hdf5.

  Args:
    path: The file.

  Returns:
    Its arrays by name, float32 where they are of another floating type.

  Raises:
    ValueError: If it is damaged, cut short, or none of these.
    ImportError: If a library is missing, with how to get it.
  """
  read: Callable[[str], State] = _read_hdf5
  if path.endswith('.safetensors'):
    read = _read_safetensors
  state = read(path)
  if not state:
    raise ValueError(f'{path} holds no weights.')
  return {name: _as_float32(array) for name, array in state.items()}


def _as_float32(array: np.ndarray) -> np.ndarray:
  # Also bfloat16, which is no type of NumPy's own.
  if array.dtype.kind in 'fV' and array.dtype != np.float32:
    return array.astype(np.float32)
  return array


def _read_safetensors(path: str) -> State:
  safetensors, numpy_form = (
    extras.load(module, extra='weights', purpose=f'To read {path}')
    for module in ('safetensors', 'safetensors.numpy')
  )
  try:
    state: State = numpy_form.load_file(path)
  except safetensors.SafetensorError as error:
    raise _damaged(path, error) from error
  except (KeyError, TypeError) as error:
    raise ValueError(
      f'{path} holds arrays of a type that NumPy does not have ({error}); save '
      'it in float32.'
    ) from error
  return state


def _read_hdf5(path: str) -> State:
  """Of Keras: of a whole model, or of its weights alone."""
  h5py = extras.load('h5py', extra='weights', purpose=f'To read {path}')
  try:
    with h5py.File(path, 'r') as file:
      group = file.get('model_weights', file)
      if 'layer_names' not in group.attrs:
        raise ValueError(
          f'{path} is an HDF5 file, but none that Keras has written: it names '
          'no layers.'
        )
      state = {}
      for layer in _words(group.attrs['layer_names']):
        for name in _words(group[layer].attrs['weight_names']):
          state[name.removesuffix(':0')] = group[layer][name][()]
      return state
  except (OSError, KeyError, RuntimeError) as error:
    raise _damaged(path, error) from error


def _words(names) -> list[str]:
  return [n.decode() if isinstance(n, bytes) else str(n) for n in names]


def _damaged(path: str, error: Exception) -> ValueError:
  remedy = 'copy it again'
  if os.path.islink(path):
    # So the hub's library keeps what it has fetched.
    remedy = f'remove {os.path.realpath(path)}, and it is fetched again'
  return ValueError(
    f'{path} cannot be read: {hub.describe_head(path)}; {remedy}. ({error})'
  )
