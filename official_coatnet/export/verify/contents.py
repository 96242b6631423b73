"""Checks what an export holds, without running it."""

import os

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from official_coatnet.export import batching, serving, versions, warmup
from official_coatnet.export.verify.comparison import Check
from official_coatnet.training import experiment as experiment_lib


def check_files(path: str, experiment: experiment_lib.Experiment) -> Check:
  """Checks that all files are there, and what the signatures look like."""
  problems = []
  for file in (
    versions.CARD_FILE,
    versions.PROVENANCE_FILE,
    versions.LABELS_FILE,
  ):
    if not tf.io.gfile.exists(os.path.join(path, file)):
      problems.append(f'{file} is missing')
  height, width = experiment.model.height_width
  signatures = _read_signatures(path)
  if set(signatures) != set(serving.INPUTS):
    problems.append(
      f'signatures are {sorted(signatures)}, not {sorted(serving.INPUTS)}'
    )
  for name in set(signatures) & set(serving.INPUTS):
    spec: tuple[tf.DType, list[int | None]] = (tf.string, [None])
    if name == 'serving_image_tensor':
      spec = (tf.uint8, [None, height, width, 3])
    problems += _signature_problems(name, signatures[name], spec=spec)
  return Check('files and signatures', problems)


def _signature_problems(name: str, signature, *, spec) -> list[str]:
  """Checks a signature, as `_read_signatures` gives it; `spec` of its input."""
  problems = []
  inputs, outputs, method = signature
  if inputs != {serving.INPUTS[name]: spec}:
    problems.append(f'`{name}` takes {inputs}')
  for output, (dtype, _) in outputs.items():
    if output.endswith('_bytes'):
      problems.append(f'`{name}`: the name of `{output}` ends in _bytes')
    if dtype not in (tf.float32, tf.string, tf.bool):
      problems.append(f'`{name}`: `{output}` is {dtype.name}')
  if name == 'classify' and set(outputs) != {'classes', 'scores'}:
    problems.append(f'`classify` has the outputs {sorted(outputs)}')
  if method not in _methods(name):
    problems.append(f'`{name}` has the method {method!r}')
  return problems


def _methods(signature: str) -> list[str]:
  """Returns the methods that a signature may be for, in TF Serving's words."""
  methods = [tf.saved_model.PREDICT_METHOD_NAME]
  if signature == 'classify':
    # Version 0.1 did not say so; servers mind only where they are told to.
    methods.append(tf.saved_model.CLASSIFY_METHOD_NAME)
  return methods


def _read_signatures(path: str):
  """Returns signatures by name: inputs, outputs ((dtype, shape)) and method."""
  with tf.io.gfile.GFile(os.path.join(path, versions.GRAPH_FILE), 'rb') as f:
    graph = saved_model_pb2.SavedModel.FromString(f.read()).meta_graphs[0]

  def read(tensors):
    return {
      name: (tf.as_dtype(info.dtype), _shape(info.tensor_shape))
      for name, info in tensors.items()
    }

  return {
    name: (read(d.inputs), read(d.outputs), d.method_name)
    for name, d in graph.signature_def.items()
    if not name.startswith('__')  # TensorFlow's own.
  }


def _shape(proto) -> list[int | None] | None:
  shape = tf.TensorShape(proto)
  return None if shape.rank is None else shape.as_list()


def check_warmup_file(path: str, provenance: versions.Provenance) -> Check:
  """Checks that every signature is warmed up in the sizes of the export."""
  found = {
    (signature, len(value))
    for signature, _, value in warmup.read_requests(path)
  }
  problems = [
    f'no request of `{signature}` with batch size {size}'
    for signature in serving.INPUTS
    for size in provenance.options.batch_sizes
    if (signature, size) not in found
  ]
  return Check('warm-up file', problems)


def check_batching(path: str, config: batching.BatchingConfig) -> Check:
  """Checks that a server with this batching loads the export, and lives."""
  problems = config.problems()
  sizes = [len(value) for _, _, value in warmup.read_requests(path)]
  try:
    config.check_batch_sizes(sizes)
  except ValueError as e:
    problems.append(str(e))
  return Check(f'batching file {config.path}', problems)
