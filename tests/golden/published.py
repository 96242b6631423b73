"""Networks with weights of others, as those others compute them.

    python -m tests.golden.published --write    # the numbers, once
    python -m tests.golden.published            # the same live: `make peers`

For each network whose weights are published, weights are drawn by their names
in timm (or keras-cv-attention-models), and logits and stage outputs are
compared with what that package makes of them. published.json holds samples of
these; without --write they are made anew in .venv_peers, and networks of ours
are exported and compared with what timm makes of the folder (`exported`).
"""

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from official_coatnet.export import serving
from official_coatnet.modeling import config as config_lib, network
from official_coatnet.pretrained import conversion, kecam, timm
from official_coatnet.training import checkpoints
from tests.golden import exported, peers, published_weights

_HERE = os.path.dirname(os.path.abspath(__file__))
FILE = os.path.join(_HERE, 'published.json')
SIZES = ((224, 224), (160, 192))
# Row of the size table: package, and the name there.
NETWORKS = {
  'timm_coatnet_nano_rw': ('timm', 'coatnet_nano_rw_224'),
  'timm_coatnet_rmlp_nano_rw': ('timm', 'coatnet_rmlp_nano_rw_224'),
  'timm_coatnet_0_rw': ('timm', 'coatnet_0_rw_224'),
  'timm_coatnet_1_rw': ('timm', 'coatnet_1_rw_224'),
  'timm_coatnet_bn_0_rw': ('timm', 'coatnet_bn_0_rw_224'),
  'timm_coatnet_2_rw': ('timm', 'coatnet_2_rw_224'),
  'timm_coatnet_3_rw': ('timm', 'coatnet_3_rw_224'),
  'timm_coatnet_rmlp_1_rw': ('timm', 'coatnet_rmlp_1_rw_224'),
  'timm_coatnet_rmlp_1_rw2': ('timm', 'coatnet_rmlp_1_rw2_224'),
  'timm_coatnet_rmlp_2_rw': ('timm', 'coatnet_rmlp_2_rw_224'),
  'timm_coatnet_0': ('timm', 'coatnet_0_224'),
  'kecam_coatnet_0': ('kecam', 'CoAtNet0'),
}
# kecam's relative offsets are those of square images alone.
SQUARE_ONLY = ('kecam_coatnet_0',)


def sizes_of(row: str) -> list[tuple[int, int]]:
  """Returns the (height, width) that a network is compared at."""
  return [
    size for size in SIZES if row not in SQUARE_ONLY or size[0] == size[1]
  ]


def key_of(row: str, size: tuple[int, int]) -> str:
  """Returns the name of a comparison in published.json."""
  return f'{row} {size[0]}x{size[1]}'


def read() -> dict[str, dict[str, Any]]:
  """Returns published.json by `key_of`, with all shapes of each.

  In the file, those that a network has at its first size already are left out.
  """
  with open(FILE, encoding='utf-8') as f:
    found = json.load(f)
  for row in NETWORKS:
    shapes: dict[str, list[int]] = {}
    for size in sizes_of(row):
      if key_of(row, size) in found:
        shapes = {**shapes, **found[key_of(row, size)]['shapes']}
        found[key_of(row, size)]['shapes'] = shapes
  return found


def compare(
  row: str, size: tuple[int, int], expected: Mapping[str, Any]
) -> dict[str, float]:
  """Runs our network with their weights.

  Args:
    row: One of `NETWORKS`.
    size: Height and width of the image.
    expected: Of published_peers.py: `shapes` and `samples`.

  Returns:
    How far logits and the output of each stage are from the samples, over the
    largest value of each.
  """
  tf.keras.backend.clear_session()
  shapes = {name: tuple(each) for name, each in expected['shapes'].items()}
  config = config_lib.ModelConfig(
    row, image_size=size, num_classes=_num_classes(shapes)
  )
  model = network.classifier(config)
  load(model, config, shapes)
  outputs = serving.representations(model)(
    published_weights.image(*size), training=False
  )
  return {
    name: published_weights.difference(outputs[name], sample)
    for name, sample in expected['samples'].items()
  }


def _num_classes(shapes: Mapping[str, tuple[int, ...]]) -> int:
  bias = 'head.fc.bias' if 'head.fc.bias' in shapes else 'predictions/bias'
  return shapes[bias][0]


def load(
  model: tf.keras.Model,
  config: config_lib.ModelConfig,
  shapes: Mapping[str, tuple[int, ...]],
) -> conversion.Report:
  """Draws the other package's weights, and loads them."""
  package = NETWORKS[config.name][0]
  lines = {'timm': timm, 'kecam': kecam}[package].lines(config)
  variables = checkpoints.named_weights(model)
  weights, report = conversion.to_ours(
    {name: published_weights.draw(name, each) for name, each in shapes.items()},
    {name: tuple(each.shape) for name, each in variables.items()},
    lines=lines,
  )
  for name, variable in variables.items():
    variable.assign(weights[name])
  return report


def _write():
  # What is there stays: a new network adds its own.
  found = read() if os.path.exists(FILE) else {}
  lines = []
  for row in NETWORKS:
    known: dict[str, list[int]] = {}
    for size in sizes_of(row):
      key = key_of(row, size)
      if key not in found:
        found[key] = peers.ask(*NETWORKS[row], size)
        print(key, found[key]['version'], flush=True)
      shapes = found[key]['shapes']
      new = {n: each for n, each in shapes.items() if known.get(n) != each}
      known.update(shapes)
      entry = {**found[key], 'shapes': new}
      lines.append(f' {json.dumps(key)}: {json.dumps(entry)}')
  with open(FILE, 'w', encoding='utf-8') as f:
    f.write('{\n' + ',\n'.join(lines) + '\n}\n')


def _compare_live():
  worst = 0.0
  for row in NETWORKS:
    for size in sizes_of(row):
      differences = compare(row, size, peers.ask(*NETWORKS[row], size))
      largest = max(differences.values())
      worst = np.fmax(worst, largest)
      print(f'{key_of(row, size):36} {largest:.1e}', flush=True)
  print('and the other way, a folder of ours that timm loads:', flush=True)
  for name, largest in exported.compare_live():
    worst = np.fmax(worst, largest)
    print(f'{name:36} {largest:.1e}', flush=True)
  print(f'worst difference, over the largest value of each output: {worst:.1e}')


if __name__ == '__main__':
  _write() if sys.argv[1:] == ['--write'] else _compare_live()
