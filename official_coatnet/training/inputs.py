"""Batches for the devices, and readable words for what stops them."""

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping

import tensorflow as tf

from official_coatnet.data import (
  checks,
  messages,
  pipeline,
  sources as sources_lib,
)
from official_coatnet.training import (
  experiment as experiment_lib,
  model_dir as model_dir_lib,
)

# What TensorFlow's decoders say, or how they are called; and its parser.
_DECODER = re.compile(
  'JPEG|PNG|GIF|BMP|Jpeg|DecodeImage|DecodeBmp'
  "|Data types don't match|Could not parse example|values != expected"
)


def with_counts(
  experiment: experiment_lib.Experiment,
  sources: Mapping[str, sources_lib.Source],
  *,
  model_dir: str | None,
) -> experiment_lib.Experiment:
  """Fills in what the manifests know: numbers of images, class weights.

  A folder of evaluation data need not hold the training data. Then the number
  is what the run left in its model_dir.

  Args:
    experiment: Of the run.
    sources: What is open already, as of `preflight.examine`.
    model_dir: Folder of a run that is evaluated; None for one that trains.
  """
  counted = {}
  for split in ('train_data', 'eval_data'):
    data = getattr(experiment, split)
    count = data.num_examples
    if count is None:
      source = sources.get(split) or checks.open_if_there(data)
      count = source and source.num_examples
    if count is None and model_dir is not None:
      stored = model_dir_lib.read_experiment(model_dir)
      count = getattr(stored, split).num_examples
    counted[split] = dataclasses.replace(data, num_examples=count)
  if model_dir is None:
    experiment = with_class_weights(experiment, sources.get('train_data'))
  return dataclasses.replace(experiment, **counted)


def with_class_weights(
  experiment: experiment_lib.Experiment,
  source: sources_lib.Source | None,
) -> experiment_lib.Experiment:
  """Makes numbers of 'balanced' class weights.

  A class with n of the N images of K classes has N / (K n), so that the mean
  over all images is 1. (Classes without any are not among the K, and have 1.)

  Args:
    experiment: Of a run that trains.
    source: What it trains on.

  Raises:
    ValueError: As `class_weight_problems` says.
  """
  if experiment.loss.class_weights != experiment_lib.BALANCED:
    return experiment
  problems = class_weight_problems(experiment, source)
  if problems:
    raise ValueError(' '.join(problems))
  counts = _class_counts(source)
  total, present = sum(counts.values()), len(counts)
  weights = tuple(
    total / (present * counts[label]) if label in counts else 1.0
    for label in range(experiment.model.num_classes)
  )
  return dataclasses.replace(
    experiment, loss=dataclasses.replace(experiment.loss, class_weights=weights)
  )


def class_weight_problems(
  experiment: experiment_lib.Experiment,
  source: sources_lib.Source | None,
) -> list[str]:
  """Says why class weights cannot be 'balanced' for what is trained on."""
  if experiment.loss.class_weights != experiment_lib.BALANCED:
    return []
  if _class_counts(source):
    return []
  return [
    "`loss.class_weights` is 'balanced', but `train_data` has no manifest that "
    'says how many images there are of each class: write one '
    '(tools/tfrecords.py index), or give a tuple of numbers.'
  ]


def _class_counts(source: sources_lib.Source | None) -> dict[int, int]:
  """Returns class to number of images, from the manifest, without zeros."""
  if source is None or source.manifest is None:
    return {}
  return {
    label + source.label_offset: n
    for label, n in source.manifest.label_counts.items()
    if n
  }


def distribute(
  experiment: experiment_lib.Experiment,
  strategy: tf.distribute.Strategy,
  *,
  is_training: bool,
  start_step: int = 0,
  careful: bool = False,
  source: sources_lib.Source | None = None,
) -> tf.distribute.DistributedDataset:
  """Returns the batches of each host, distributed to its cores.

  Args:
    experiment: What to read.
    strategy: Where it goes.
    is_training: Whether for training or for evaluation.
    start_step: First step of training.
    careful: As of `pipeline.make_dataset`.
    source: Likewise.
  """
  config = experiment.train_data if is_training else experiment.eval_data

  def make(context):
    return pipeline.make_dataset(
      config,
      seed=experiment.run.seed,
      is_training=is_training,
      input_context=context,
      start_step=start_step,
      careful=careful,
      source=source,
    )

  return strategy.distribute_datasets_from_function(make)


@contextlib.contextmanager
def readable_errors(
  experiment: experiment_lib.Experiment,
  strategy: tf.distribute.Strategy,
  *,
  step: Callable[[], int] | None,
  num_steps: int,
) -> Iterator[None]:
  """Within this context, what stops the input is a ValueError of one sentence.

  Where a decoder has failed and has not said on which image, the batches in
  question are made again, carefully, until the image is found.

  Args:
    experiment: What is run.
    strategy: Where it runs.
    step: Returns the step of training; None where there is only evaluation.
    num_steps: Steps that the devices may be behind the input.
  """
  try:
    yield
  except (
    tf.errors.InvalidArgumentError,
    tf.errors.DataLossError,
    tf.errors.NotFoundError,
  ) as error:
    words = messages.sentence(error) or _missing_file(error)
    # To iterate is a common act of several workers, and the others have gone.
    alone = not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    if alone and words is None and _DECODER.search(error.message):
      words = _find_image(
        experiment, strategy, step=step and step(), num_steps=num_steps
      )
    if words is None:
      raise
    raise ValueError(f'The input stopped the run. {words}') from error


def _missing_file(error: tf.errors.OpError) -> str | None:
  """Says which file of records is gone; None if it is another error."""
  found = re.search(
    r'(?:\}\} )?([^{}]+); No such file or directory', error.message
  )
  if found is None or 'Iterator' not in error.message:
    return None
  return f'{found.group(1).strip()} cannot be opened: it is there no more.'


def _find_image(experiment, strategy, *, step, num_steps) -> str | None:
  """Returns what is wrong with the first image that cannot be decoded."""
  if step is not None:
    data = experiment.train_data
    if data.data_service is not None and data.num_examples:
      # Nobody knows who made the batch: look through a whole epoch.
      num_steps = data.num_examples // data.batch_size + 1
      experiment = dataclasses.replace(
        experiment, train_data=dataclasses.replace(data, data_service=None)
      )
    batches = distribute(
      experiment, strategy, is_training=True, start_step=step, careful=True
    )
    words = _first_error(batches, lambda number, batch: number >= num_steps)
    if words is not None:
      return words

  def is_last(number, batch):
    del number
    weights = strategy.experimental_local_results(batch['weight'])
    skipped = batch.get('skipped', batch['weight'])
    skipped = strategy.experimental_local_results(skipped)
    return not any(tf.reduce_any(w > 0) for w in (*weights, *skipped))

  batches = distribute(experiment, strategy, is_training=False, careful=True)
  return _first_error(batches, is_last)


def _first_error(batches, is_last) -> str | None:
  try:
    for number, batch in enumerate(batches):
      if is_last(number, batch):
        break
  except tf.errors.InvalidArgumentError as error:
    return messages.sentence(error)
  return None
