"""What an export says about where it comes from: export.json."""

import dataclasses
import json
import os

import tensorflow as tf

from official_coatnet.export.options import ExportOptions

FILE = 'export.json'


@dataclasses.dataclass(frozen=True)
class Provenance:
  """Where an export comes from and how it was made.

  Attributes:
    model_dir: Folder of the run.
    checkpoint: Name of the checkpoint in it.
    weights: 'ema' or 'raw'.
    folded: Whether norms are folded into convolutions.
    options: The rest.
  """

  model_dir: str
  checkpoint: str
  weights: str
  folded: bool
  options: ExportOptions


def write(provenance: Provenance, path: str):
  """Writes export.json into the folder `path`."""
  values = dataclasses.asdict(provenance)
  values['options'] = provenance.options.to_dict()
  with tf.io.gfile.GFile(os.path.join(path, FILE), 'w') as f:
    f.write(json.dumps(values, indent=2) + '\n')


def read(path: str) -> Provenance:
  """Reads export.json from the folder `path`.

  Raises:
    ValueError: If there is none, or it is of another version.
  """
  file = os.path.join(path, FILE)
  try:
    with tf.io.gfile.GFile(file) as f:
      values = json.loads(f.read())
    options = ExportOptions.from_dict(values.pop('options'))
    return Provenance(options=options, **values)
  except (tf.errors.OpError, ValueError, TypeError, KeyError) as e:
    raise ValueError(
      f'{file!r} cannot be read ({e}): {path!r} is no export of this version '
      'of tools/export.py, or damaged.'
    ) from e
