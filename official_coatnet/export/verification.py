"""Compares an export with the network it was made of.

    the run's checkpoint -> its network, step by step
    the export -> reloaded in Python, all signatures
    the export -> TensorFlow's C++ loader, all signatures

All three are to give the same numbers.
The images reach the network by the run's own evaluation pipeline, and the
export as encoded bytes, so that decoding and resizing are compared as well.
"""

import dataclasses
import os
import tempfile
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from official_coatnet.data import device, pipeline, schema
from official_coatnet.export import (
  model_card,
  provenance,
  samples,
  serving,
  versions,
  warmup,
)
from official_coatnet.modeling import network
from official_coatnet.training import checkpoints, preflight
from official_coatnet.training import experiment as experiment_lib

BATCH_SIZES = (1, 2, 3, 8, 17)
# Largest difference, as a multiple of max(1, |value|), by whether norms are
# folded into convolutions, which rounds differently.
TOLERANCES = {False: 1e-5, True: 1e-4}


class Request(NamedTuple):
  """A call of a signature: its name, and the name and value of its input."""

  signature: str
  name: str
  value: np.ndarray


Reply = dict[str, np.ndarray]
# Answers requests, in a process and by a loader of its choice.
Runner = Callable[[Sequence[Request]], list[Reply]]


@dataclasses.dataclass(frozen=True)
class Check:
  """What one comparison found.

  Attributes:
    name: What was compared.
    problems: What is wrong; empty if nothing.
    difference: Largest difference as a multiple of max(1, |value|), or None
      where nothing is measured.
  """

  name: str
  problems: Sequence[str] = ()
  difference: float | None = None


class Reference(NamedTuple):
  """What an export should answer, by batch size where sizes round differently.

  Attributes:
    encoded: The images.
    pixels: What the evaluation makes of them, uint8 [images, height, width, 3].
    outputs: Batch size to 'logits' and 'features' of the first images.
  """

  encoded: list[bytes]
  pixels: np.ndarray
  outputs: dict[int, Reply]


def run_in_python(path: str) -> Runner:
  """Returns what answers requests by `tf.saved_model.load`."""
  loaded = tf.saved_model.load(path)

  def run(requests: Sequence[Request]) -> list[Reply]:
    replies = []
    for request in requests:
      signature = loaded.signatures[request.signature]
      value = tf.constant(request.value)
      if request.value.dtype == object:  # Also where there are no strings.
        value = tf.constant(request.value, tf.string)
      outputs = signature(**{request.name: value})
      replies.append({k: v.numpy() for k, v in outputs.items()})
    return replies

  return run


def verify(
  path: str,
  *,
  runners: dict[str, Runner],
  model_dir: str | None = None,
  encoded: Sequence[bytes] | None = None,
) -> list[Check]:
  """Does all comparisons of an export.

  Args:
    path: The export, `<export_dir>/<version>`.
    runners: Ways to run it by name.
    model_dir: Folder of its run; None for where it was when it was exported.
    encoded: Images to use, as many as the largest batch size at least. None for
      samples of every format.

  Returns:
    A `Check` for each.

  Raises:
    FileNotFoundError: If the run or the export is not there.
    ValueError: If the export is none of this package, or the run has lost the
      checkpoint.
  """
  source = provenance.read(path)
  experiment = preflight.read_experiment(path)
  if encoded is None:
    side = max(experiment.model.height_width)
    encoded = samples.images(max(BATCH_SIZES), side=side + side // 4)
  checkpoint = os.path.join(model_dir or source.model_dir, source.checkpoint)
  reference = make_reference(
    experiment, checkpoint, weights=source.weights, encoded=list(encoded)
  )
  labels = _read_labels(path, experiment)
  checks = [check_files(path, experiment), check_warmup_file(path, source)]
  judge = _Judge(experiment, source, reference=reference, labels=labels)
  for name, runner in runners.items():
    checks += judge.check_numbers(name, runner)
    checks += [
      judge.check_warmup(name, runner, path=path),
      judge.check_empty_batch(name, runner),
      judge.check_bad_image(name, runner),
    ]
  return checks


def _read_labels(path, experiment) -> list[str]:
  return versions.read_labels(
    os.path.join(path, versions.LABELS_ASSET),
    num_classes=experiment.model.num_classes,
  )


def make_reference(
  experiment: experiment_lib.Experiment,
  checkpoint: str,
  *,
  weights: str,
  encoded: list[bytes],
) -> Reference:
  """Runs the network as it is trained and evaluated, without the export.

  Args:
    experiment: Of the run.
    checkpoint: Its checkpoint.
    weights: 'ema' or 'raw'.
    encoded: Images, as many as the largest batch size at least.
  """
  if len(encoded) < max(BATCH_SIZES):
    raise ValueError(
      f'There are {len(encoded)} images; it takes {max(BATCH_SIZES)} at least.'
    )
  encoded = encoded[: max(BATCH_SIZES)]
  pixels = evaluation_pixels(experiment, encoded)
  config = dataclasses.replace(
    experiment.model, dtype='float32', sync_batch_norm=False
  )
  model = network.classifier(config)
  checkpoints.load_weights(model, checkpoint, weights=weights)
  last = model.get_layer('logits')
  both = tf.keras.Model(
    model.input, {'features': last.input, 'logits': last.output}
  )
  outputs = {}
  for size in BATCH_SIZES:
    values = both(device.normalize(pixels[:size]), training=False)
    outputs[size] = {name: value.numpy() for name, value in values.items()}
  return Reference(encoded, pixels, outputs)


def evaluation_pixels(
  experiment: experiment_lib.Experiment, encoded: Sequence[bytes]
) -> np.ndarray:
  """Writes images as records and reads them as an evaluation does."""
  with tempfile.TemporaryDirectory() as folder:
    data = dataclasses.replace(
      experiment.eval_data,
      source='tfrecord',
      data_dir=folder,
      tfds_name=None,
      file_pattern=None,
      split='validation',
      schema='imagenet',
      label_offset=None,
      confidence_threshold=None,
      max_labels=1,
      num_examples=len(encoded),
      batch_size=len(encoded),
    )
    file = os.path.join(folder, 'validation-00000-of-00001')
    with tf.io.TFRecordWriter(file) as writer:
      for image in encoded:
        writer.write(
          schema.serialize_imagenet(image, label=1, height=1, width=1)
        )
    dataset = pipeline.make_dataset(data, seed=0, is_training=False)
    return next(iter(dataset))['image'].numpy()


def check_files(path: str, experiment: experiment_lib.Experiment) -> Check:
  """Checks that all files are there, and what the signatures look like."""
  problems = []
  for file in (model_card.FILE, provenance.FILE, versions.LABELS_ASSET):
    if not tf.io.gfile.exists(os.path.join(path, file)):
      problems.append(f'{file} is missing')
  loaded = tf.saved_model.load(path)
  found, wanted = set(loaded.signatures), set(serving.INPUTS)
  if found != wanted:
    problems.append(f'signatures are {sorted(found)}, not {sorted(wanted)}')
  height, width = experiment.model.height_width
  for name in found & wanted:
    signature = loaded.signatures[name]
    spec = tf.TensorSpec([None], tf.string, name=serving.INPUTS[name])
    if name == 'serving_image_tensor':
      shape = [None, height, width, 3]
      spec = tf.TensorSpec(shape, tf.uint8, name=serving.INPUTS[name])
    inputs = signature.structured_input_signature[1]
    if inputs != {spec.name: spec}:
      problems.append(f'`{name}` takes {inputs}, not {spec}')
    outputs = signature.structured_outputs
    for output, value in outputs.items():
      if output.endswith('_bytes'):
        problems.append(f'`{name}`: the name of `{output}` ends in _bytes')
      if value.dtype not in (tf.float32, tf.string, tf.bool):
        problems.append(f'`{name}`: `{output}` is {value.dtype.name}')
    if name == 'classify' and set(outputs) != {'classes', 'scores'}:
      problems.append(f'`classify` has the outputs {sorted(outputs)}')
  return Check('files and signatures', problems)


def check_warmup_file(path: str, source: provenance.Provenance) -> Check:
  """Checks that every signature is warmed up in every allowed batch size."""
  found = {
    (signature, len(value))
    for signature, _, value in warmup.read_requests(path)
  }
  problems = [
    f'no request of `{signature}` with batch size {size}'
    for signature in serving.INPUTS
    for size in source.options.batch_sizes
    if (signature, size) not in found
  ]
  return Check('warm-up file', problems)


class _Judge:
  """Compares replies with a reference."""

  def __init__(self, experiment, source, *, reference, labels):
    self._experiment = experiment
    self._options = source.options
    self._tolerance = TOLERANCES[source.folded]
    self._reference = reference
    self._labels = np.array([label.encode() for label in labels], object)

  def _request(self, signature: str, encoded: Sequence[bytes]) -> Request:
    if signature in serving.TAKE_EXAMPLES:
      encoded = [warmup.make_example(e).SerializeToString() for e in encoded]
    value = np.empty([len(encoded)], object)
    value[:] = encoded
    return Request(signature, serving.INPUTS[signature], value)

  def check_numbers(self, runner_name: str, runner: Runner) -> list[Check]:
    """Runs every signature in every batch size."""
    requests, keys = [], []
    for signature in serving.INPUTS:
      for size in BATCH_SIZES:
        request = self._request(signature, self._reference.encoded[:size])
        if signature == 'serving_image_tensor':
          pixels = self._reference.pixels[:size]
          request = Request(signature, serving.INPUTS[signature], pixels)
        requests.append(request)
        keys.append((signature, size))
    replies = dict(zip(keys, runner(requests)))
    checks = []
    for signature in serving.INPUTS:
      problems, worst = [], 0.0
      for size in BATCH_SIZES:
        found, difference = self._compare(signature, size, replies)
        problems += [f'batch size {size}: {problem}' for problem in found]
        worst = max(worst, difference)
      checks.append(Check(f'{runner_name}: `{signature}`', problems, worst))
    return checks

  def _compare(self, signature, size, replies):
    """Returns what is wrong with a reply, and its largest difference."""
    reply, expected = replies[signature, size], self._reference.outputs[size]
    problems = _not_finite(reply)
    if signature == 'features':
      difference = _difference(reply['features'], expected['features'])
    elif signature == 'classify':
      # It has no logits: it answers what the other one does, name by name.
      other = replies['serving_tf_example', size]
      difference = _difference(reply['scores'], other['scores'])
      if (reply['classes'] != other['classes']).any():
        problems.append('other classes than `serving_tf_example`')
    else:
      difference = _difference(reply['logits'], expected['logits'])
      problems += self._class_problems(reply, expected['logits'])
    if not difference <= self._tolerance:
      problems.append(
        f'a difference of {difference:.3g} x max(1, |value|), more than '
        f'{self._tolerance:g}'
      )
    return problems, difference

  def _class_problems(self, reply: Reply, logits: np.ndarray) -> list[str]:
    """Compares probabilities, classes and scores with those of logits."""
    problems = []
    flips = np.flatnonzero(reply['logits'].argmax(-1) != logits.argmax(-1))
    if len(flips):
      problems.append(f'another first class for images {flips.tolist()}')
    logits = reply['logits'].astype(np.float64)
    expected = _probabilities(logits, loss=self._experiment.loss.name)
    if not _difference(reply['probabilities'], expected) <= 1e-5:
      problems.append('`probabilities` are not those of the logits')
    order = np.argsort(-logits, axis=-1, kind='stable')
    order = order[:, : reply['classes'].shape[1]]
    if (reply['classes'] != self._labels[order]).any():
      problems.append('`classes` are not those of the largest logits')
    scores = np.take_along_axis(reply['probabilities'], order, axis=-1)
    if (reply['scores'] != scores).any():
      problems.append('`scores` are not the probabilities of `classes`')
    return problems

  def check_warmup(
    self, runner_name: str, runner: Runner, *, path: str
  ) -> Check:
    """Replays the warm-up file."""
    requests = [
      Request(signature, name, value.numpy())
      for signature, name, value in warmup.read_requests(path)
    ]
    problems = []
    for request, reply in zip(requests, runner(requests)):
      for output, value in reply.items():
        if len(value) != len(request.value):
          problems.append(
            f'`{request.signature}` with {len(request.value)} images: '
            f'`{output}` has {len(value)} rows'
          )
      problems += _not_finite(reply)
    return Check(f'{runner_name}: warm-up replayed', problems)

  def check_empty_batch(self, runner_name: str, runner: Runner) -> Check:
    """Sends no image at all."""
    names = [name for name in serving.INPUTS if name != 'serving_image_tensor']
    requests = [self._request(name, []) for name in names]
    pixels = self._reference.pixels[:0]
    requests.append(
      Request(
        'serving_image_tensor', serving.INPUTS['serving_image_tensor'], pixels
      )
    )
    problems = [
      f'`{request.signature}`: `{output}` has {len(value)} rows'
      for request, reply in zip(requests, runner(requests))
      for output, value in reply.items()
      if len(value)
    ]
    return Check(f'{runner_name}: empty batch', problems)

  def check_bad_image(self, runner_name: str, runner: Runner) -> Check:
    """Sends an image that is cut off, between two that are whole."""
    name = f'{runner_name}: an image that is cut off'
    first, *_, last = self._reference.encoded[:3]
    request = self._request('serving_default', [first, first[:60], last])
    try:
      (reply,) = runner([request])
    except Exception as e:  # Each loader has its own kind of error.
      if self._options.answer_bad_images:
        return Check(name, [f'it failed the request: {e}'])
      return Check(name)
    if not self._options.answer_bad_images:
      return Check(name, ['it was answered'])
    problems = _not_finite(reply)
    if reply['ok'].tolist() != [True, False, True]:
      problems.append(f'`ok` is {reply["ok"].tolist()}')
    if reply['logits'][1].any():
      problems.append('its logits are not 0')
    expected = self._reference.outputs[3]['logits'][[0, 2]]
    if not _difference(reply['logits'][[0, 2]], expected) <= self._tolerance:
      problems.append('the images beside it have other logits')
    return Check(name, problems)


def _difference(actual: np.ndarray, expected: np.ndarray) -> float:
  """Returns the largest |a - e| / max(1, |e|); infinity if shapes differ."""
  if actual.shape != expected.shape:
    return np.inf
  actual, expected = actual.astype(np.float64), expected.astype(np.float64)
  scale = np.maximum(1.0, np.abs(expected))
  return float(np.max(np.abs(actual - expected) / scale, initial=0.0))


def _probabilities(logits: np.ndarray, *, loss: str) -> np.ndarray:
  if loss == 'sigmoid':
    return 0.5 * (1 + np.tanh(logits / 2))  # It does not overflow.
  powers = np.exp(logits - logits.max(-1, keepdims=True))
  return powers / powers.sum(-1, keepdims=True)


def _not_finite(reply: Reply) -> list[str]:
  return [
    f'`{name}` has values that are not finite'
    for name, value in reply.items()
    if value.dtype == np.float32 and not np.isfinite(value).all()
  ]
