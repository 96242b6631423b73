"""What timm and keras-cv-attention-models make of weights drawn by name.

    .venv_peers/bin/python tests/golden/published_peers.py timm \
        coatnet_0_rw_224 224 224

prints one JSON object: the names and shapes of the network's weights, and
samples of its logits and of the output of each stage. It runs in the
environment of `make peers`, and imports nothing of this package but the module
beside it. With an object of JSON as a last argument, timm is told that, too;
instead of a network of its own it takes a folder, as local-dir:/its/path.
"""

import importlib.metadata
import json
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import published_weights

# Weights of the networks are drawn; this is what a BatchNorm counts.
_COUNTER = 'num_batches_tracked'


def run_timm(
  name: str, height: int, width: int, args: Mapping[str, Any]
) -> dict[str, Any]:
  """Runs a network of timm, or a folder, 'local-dir:...', with its weights."""
  import torch

  _allow_foreign_torchvision(torch)
  import timm

  stored = name.startswith('local-dir:')
  size = {} if stored else {'img_size': (height, width)}
  network = timm.create_model(name, pretrained=stored, **{**size, **args})
  network.eval()
  state = network.state_dict()
  for key, value in state.items():
    if not stored and not key.endswith(_COUNTER):
      drawn = published_weights.draw(key, tuple(value.shape))
      state[key] = torch.from_numpy(drawn)
  network.load_state_dict(state)
  image = published_weights.image(height, width)
  stages = []
  with torch.no_grad():
    # [batch, height, width, channels] <-> [batch, channels, height, width]
    channels_first = torch.from_numpy(image.transpose(0, 3, 1, 2).copy())
    logits = network(channels_first).numpy()
    x = network.stem(channels_first)
    stages.append(x)
    for stage in network.stages:
      x = stage(x)
      stages.append(x)
  return _result(
    {key: tuple(value.shape) for key, value in state.items()},
    logits,
    [x.numpy().transpose(0, 2, 3, 1) for x in stages],
    version=f'timm {timm.__version__}, torch {torch.__version__}',
  )


def _allow_foreign_torchvision(torch):
  """As in tools/benchmark/peers_variants.py, which says why."""
  if importlib.metadata.version('torchvision').endswith('+cpu'):
    return
  library = torch.library.Library('torchvision', 'DEF')
  for name in ('nms', 'qnms'):
    library.define(
      f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor'
    )
  torch.library.torchvision_stub = library


def run_kecam(name: str, height: int, width: int) -> dict[str, Any]:
  """Runs a network of keras-cv-attention-models."""
  import keras_cv_attention_models
  import tensorflow as tf
  from keras_cv_attention_models import coatnet

  network = getattr(coatnet, name)(
    input_shape=(height, width, 3), pretrained=None, classifier_activation=None
  )
  shapes = {}
  for variable in network.weights:
    key = variable.name.removesuffix(':0')
    shapes[key] = tuple(variable.shape)
    variable.assign(published_weights.draw(key, shapes[key]))
  # Each stage ends with the last of its blocks.
  outputs = [network.get_layer('stem_2_conv').output]
  for stage in range(1, 5):
    blocks = [
      layer
      for layer in network.layers
      if layer.name.startswith(f'stack_{stage}_')
      and layer.name.endswith('output')
      and isinstance(layer, tf.keras.layers.Add)
    ]
    outputs.append(blocks[-1].output)
  image = published_weights.image(height, width)
  logits, *stages = tf.keras.Model(network.inputs, [network.output, *outputs])(
    image, training=False
  )
  return _result(
    shapes,
    logits.numpy(),
    [x.numpy() for x in stages],
    version=f'keras-cv-attention-models {keras_cv_attention_models.__version__}'
    f', tensorflow {tf.__version__}',
  )


def _result(shapes, logits: np.ndarray, stages, *, version: str):
  samples = {'logits': published_weights.sample(logits)}
  for i, x in enumerate(stages):
    samples[f's{i}'] = published_weights.sample(x)
  return {
    'version': version,
    'shapes': {
      key: list(shape)
      for key, shape in sorted(shapes.items())
      if not key.endswith(_COUNTER)
    },
    'samples': samples,
  }


if __name__ == '__main__':
  package, network_name, *image_size = sys.argv[1:5]
  rows, columns = map(int, image_size)
  if package == 'timm':
    settings = json.loads(sys.argv[5]) if sys.argv[5:] else {}
    result = run_timm(network_name, rows, columns, settings)
  else:
    result = run_kecam(network_name, rows, columns)
  print(json.dumps(result))
