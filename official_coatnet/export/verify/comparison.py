"""Compares what an export replies with what its network gives."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from official_coatnet.export import serving, versions, warmup

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
# Answers requests, in a process and by a loader of its choice: each by its
# outputs, or by why there are none.
Runner = Callable[[Sequence[Request]], list[Reply | str]]


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
    outputs: Batch size to 'logits', 'features', 's0' and so on, of as many of
      them.
  """

  encoded: list[bytes]
  pixels: np.ndarray
  outputs: dict[int, Reply]


class Judge:
  """Compares replies with a reference."""

  def __init__(
    self,
    *,
    loss: str,
    provenance: versions.Provenance,
    reference: Reference,
    labels: Sequence[str],
  ):
    """Takes what the replies are to be compared with.

    Args:
      loss: 'softmax' or 'sigmoid'.
      provenance: Of the export.
      reference: Of its network.
      labels: Names of the classes.
    """
    self._loss = loss
    self._options = provenance.options
    self._tolerance = TOLERANCES[provenance.folded]
    self._reference = reference
    self._labels = np.array([label.encode() for label in labels], object)

  def check(
    self, runner_name: str, runner: Runner, *, warmup_requests: list[Request]
  ) -> list[Check]:
    """Does all comparisons, with one call of the runner.

    Args:
      runner_name: For the names of the checks.
      runner: What answers.
      warmup_requests: Those in the export.
    """
    keys = [(name, size) for name in serving.INPUTS for size in BATCH_SIZES]
    numbers = [self._request(name, slice(size)) for name, size in keys]
    empty = [self._request(name, slice(0)) for name in serving.INPUTS]
    replies = iter(
      runner([*numbers, *warmup_requests, *empty, self._bad_image()])
    )
    by_key = {key: next(replies) for key in keys}
    checks = [
      self._check_numbers(signature, by_key) for signature in serving.INPUTS
    ]
    for name, requests in (
      ('warm-up replayed', warmup_requests),
      ('empty batch', empty),
    ):
      problems = []
      for request in requests:
        problems += _request_problems(request, next(replies))
      checks.append(Check(name, problems))
    checks.append(self._check_bad_image(next(replies)))
    return [
      dataclasses.replace(check, name=f'{runner_name}: {check.name}')
      for check in checks
    ]

  def _request(self, signature: str, which: slice) -> Request:
    """Asks for some of the images."""
    name = serving.INPUTS[signature]
    if signature == 'serving_image_tensor':
      return Request(signature, name, self._reference.pixels[which])
    encoded = self._reference.encoded[which]
    if signature in serving.TAKE_EXAMPLES:
      encoded = [warmup.make_example(e).SerializeToString() for e in encoded]
    return Request(signature, name, _strings(encoded))

  def _bad_image(self) -> Request:
    """An image that is cut off, between two that are whole."""
    first, _, last = self._reference.encoded[:3]
    name = 'serving_default'
    return Request(
      name, serving.INPUTS[name], _strings([first, first[:60], last])
    )

  def _check_numbers(self, signature, replies) -> Check:
    """Compares the replies of a signature in every batch size."""
    problems, worst = [], 0.0
    for size in BATCH_SIZES:
      reply = replies[signature, size]
      if isinstance(reply, str):
        problems.append(f'batch size {size}: {reply}')
        continue
      found, difference = self._compare(signature, size, replies)
      problems += [f'batch size {size}: {problem}' for problem in found]
      worst = max(worst, difference)
    return Check(f'`{signature}`', problems, worst)

  def _compare(self, signature, size, replies):
    """Returns what is wrong with a reply, and its largest difference."""
    reply, expected = replies[signature, size], self._reference.outputs[size]
    problems = _not_finite(reply)
    if signature == 'features':
      difference = max(
        _difference_of_maps(value, expected[name])
        for name, value in reply.items()
        if name != 'ok'
      )
    elif signature == 'classify':
      # It has no logits: it answers what the other one does, name by name.
      other = replies['serving_tf_example', size]
      if isinstance(other, str):
        return problems, 0.0
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
    expected = _probabilities(logits, loss=self._loss)
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

  def _check_bad_image(self, reply: Reply | str) -> Check:
    """Judges the reply to the request of `_bad_image`."""
    name = 'an image that is cut off'
    if isinstance(reply, str):
      answered = self._options.answer_bad_images
      return Check(name, [f'it failed: {reply}'] if answered else [])
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


def _strings(values: Sequence[bytes]) -> np.ndarray:
  """Returns an array of objects; NumPy's own strings lose zeros at the end."""
  array = np.empty([len(values)], object)
  array[:] = values
  return array


def _request_problems(request: Request, reply: Reply | str) -> list[str]:
  """Checks that there is a finite row for each image."""
  what = f'`{request.signature}` with {len(request.value)} images'
  if isinstance(reply, str):
    return [f'{what}: {reply}']
  problems = [
    f'{what}: `{output}` has {len(value)} rows'
    for output, value in reply.items()
    if len(value) != len(request.value)
  ]
  return problems + _not_finite(reply)


def _difference(actual: np.ndarray, expected: np.ndarray) -> float:
  """Returns the largest |a - e| / max(1, |e|); infinity if shapes differ."""
  if actual.shape != expected.shape:
    return np.inf
  actual, expected = actual.astype(np.float64), expected.astype(np.float64)
  scale = np.maximum(1.0, np.abs(expected))
  return float(np.max(np.abs(actual - expected) / scale, initial=0.0))


def _difference_of_maps(actual: np.ndarray, expected: np.ndarray) -> float:
  """Returns the largest |a - e| / max(1, |largest e of the image|).

  One of the hundred thousand values of a map may be a small difference of large
  ones.
  """
  if actual.shape != expected.shape:
    return np.inf
  worst = 0.0
  for a, e in zip(actual.astype(np.float64), expected.astype(np.float64)):
    scale = max(1.0, np.max(np.abs(e)))
    worst = max(worst, float(np.max(np.abs(a - e)) / scale))
  return worst


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
