"""What is recorded of a folder such as v0_1, and how it is asked for.

`write_folder` writes what these functions return, and `compatibility_test`
compares it with what they return now. Both work in the folder or a copy of it,
with relative paths, so that a run is resumed by the very command that began it.
"""

import hashlib
import io
import json
import os
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from tests.compatibility import command_line

HERE = os.path.dirname(os.path.abspath(__file__))
# The run was killed after `KILLED_STEP`; its last checkpoint is `STEP`.
STEP, KILLED_STEP, TOTAL_STEPS = 6, 8, 12
MODEL_DIR, DATA_DIR, IMAGES = 'model_dir', 'data', 'images'
EXPORTS, EXPORT = 'exports', os.path.join('exports', '1')
WEIGHTS = ('ema', 'raw')
EXPECTED_FILE, CHECKSUMS_FILE = 'expected.json', 'checksums.json'
# From the name of a signature to what it takes, as any client has to know it.
_INPUTS = {
  'serving_default': 'image_bytes',
  'serving_image_tensor': 'image',
  'serving_tf_example': 'examples',
  'classify': 'inputs',
  'features': 'image_bytes',
}
# They tell of this machine and this day.
_NOT_REPRODUCED = ('images_per_second', 'core_hours', 'goodput/')


def train(*arguments: str, gin_file: str = 'run.gin', model_dir=MODEL_DIR):
  """Runs tools/train.py in the working directory; arguments are added."""
  command_line.run(
    'tools/train.py',
    f'--gin_file={gin_file}',
    f"--gin_bindings=DATA_DIR = '{DATA_DIR}'",
    f'--model_dir={model_dir}',
    *arguments,
  )


def metrics(model_dir: str = MODEL_DIR) -> list[dict[str, float]]:
  """Returns the lines of metrics.jsonl, but for what is measured in time."""
  with open(os.path.join(model_dir, 'metrics.jsonl')) as f:
    lines = [json.loads(line) for line in f]
  return [
    {k: v for k, v in line.items() if not any(n in k for n in _NOT_REPRODUCED)}
    for line in lines
  ]


def evaluate(weights: str, *, gin_file: str) -> dict[str, float]:
  """Evaluates the checkpoint and returns the line that this adds."""
  train(
    '--mode=eval',
    f"--gin_bindings=RunConfig.weights = '{weights}'",
    gin_file=gin_file,
  )
  return metrics()[-1]


def fine_tune() -> list[dict[str, float]]:
  """Takes one step from the averages, on larger images; returns its metrics."""
  folder = 'fine_tuned'
  train(
    '--mode=train',
    f"--gin_bindings=INIT_CHECKPOINT = '{MODEL_DIR}'",
    '--gin_bindings=IMAGE_SIZE = 64',
    '--gin_bindings=TRAIN_STEPS = 1',
    '--gin_bindings=WARMUP_STEPS = 0',
    model_dir=folder,
  )
  return metrics(folder)


def export(export_dir: str):
  """Runs tools/export.py."""
  command_line.run(
    'tools/export.py', f'--model_dir={MODEL_DIR}', f'--export_dir={export_dir}'
  )


def predict() -> list[dict[str, Any]]:
  """Returns what tools/predict.py says of the images."""
  output = command_line.run(
    'tools/predict.py', f'--saved_model={EXPORTS}', *image_files()
  )
  return [json.loads(line) for line in output.splitlines()]


def summarize() -> dict[str, Any]:
  """Returns what tools/summarize.py says of the run."""
  output = command_line.run(
    'tools/summarize.py', f'--model_dir={MODEL_DIR}', '--format=json'
  )
  return json.loads(output)


def norms(model_dir: str = MODEL_DIR) -> dict[str, float]:
  """Returns the global norms of what the latest checkpoint holds."""
  squares = {}
  reader = tf.train.load_checkpoint(model_dir)
  for name, shape in reader.get_variable_to_shape_map().items():
    if shape and not name.startswith('_CHECKPOINTABLE'):
      # The moments hang below the weights that they are of.
      slot = name.partition('.OPTIMIZER_SLOT/optimizer/')[2]
      group = slot.split('/')[0] or name.split('/')[0]
      square = np.sum(np.square(reader.get_tensor(name), dtype=np.float64))
      squares[group] = squares.get(group, 0.0) + square
  return {group: float(np.sqrt(s)) for group, s in sorted(squares.items())}


def variables(model_dir: str = MODEL_DIR) -> dict[str, list[int]]:
  """Returns name to shape of all that the latest checkpoint holds."""
  return dict(tf.train.list_variables(model_dir))


def image_files() -> list[str]:
  """Returns the images that are shown to an export."""
  return sorted(os.path.join(IMAGES, name) for name in os.listdir(IMAGES))


def signatures(path: str) -> dict[str, Any]:
  """Returns what the signatures of an export take and answer with."""
  loaded = tf.saved_model.load(path)

  def describe(specs):
    return {n: [s.dtype.name, str(s.shape)] for n, s in sorted(specs.items())}

  return {
    name: {
      'inputs': describe(function.structured_input_signature[1]),
      'outputs': describe(function.structured_outputs),
    }
    for name, function in sorted(loaded.signatures.items())
  }


def answers(path: str) -> dict[str, dict[str, Any]]:
  """Returns what each signature of an export answers to the images."""
  loaded = tf.saved_model.load(path)
  result = {}
  for signature, name in _INPUTS.items():
    outputs = loaded.signatures[signature](**{name: _inputs(signature)})
    result[signature] = {
      key: np.asarray(value).astype(
        str if value.dtype == tf.string else value.dtype.as_numpy_dtype
      )
      for key, value in sorted(outputs.items())
    }
  return result


def _inputs(signature: str) -> tf.Tensor:
  encoded = []
  for path in image_files():
    with open(path, 'rb') as f:
      encoded.append(f.read())
  if signature == 'serving_image_tensor':
    pixels = [np.asarray(Image.open(io.BytesIO(image))) for image in encoded]
    return tf.constant(np.stack(pixels))
  if signature in ('serving_default', 'features'):
    return tf.constant(encoded)
  return tf.constant([_example(image) for image in encoded])


def _example(image: bytes) -> bytes:
  feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))
  features = tf.train.Features(feature={'image/encoded': feature})
  return tf.train.Example(features=features).SerializeToString()


def files(top: str) -> list[str]:
  """Returns the files in a folder and below, relative to it."""
  return sorted(
    os.path.relpath(os.path.join(folder, name), top)
    for folder, _, names in os.walk(top)
    for name in names
  )


def checksums(top: str) -> dict[str, str]:
  """Returns the SHA-256 of each file of a folder but that of checksums."""
  result = {}
  for name in files(top):
    if name != CHECKSUMS_FILE:
      with open(os.path.join(top, name), 'rb') as f:
        result[name] = hashlib.sha256(f.read()).hexdigest()
  return result
