"""Whether a run's folder and what it is started with now belong together.

Weights do not know what they were trained on; the folder of the run does
(`data.json`, `experiment.json`). Resuming, evaluation and fine-tuning are held
against it here, before any accelerator time is spent.
"""

from collections.abc import Mapping

from absl import logging

from official_coatnet.data import checks, sources as sources_lib
from official_coatnet.training import (
  checkpoint_files,
  experiment as experiment_lib,
  model_dir as model_dir_lib,
  stored_data,
)

_WORDS = 'was {} and is now {}'
_TRAINING_MODES = ('train', 'train_and_eval')
# What changes how an evaluation, and so an export, answers.
_EVALUATED_WITH = (
  'center_crop',
  'eval_crop_fraction',
  'interpolation',
  'mean',
  'deviation',
  'confidence_threshold',
  'max_labels',
)
# What of a configuration says where and how fast, and not what is trained; and
# what is compared as a fact about the data.
_NOT_COMPARED = (
  'data_dir',
  'tfds_name',
  'file_pattern',
  'source',
  'schema',
  'label_offset',
  'num_examples',
  'compression',
  'parallel_calls',
  'prefetch',
  'data_service',
  'steps_per_loop',
  'max_to_keep',
  'keep_every_steps',
  'keep_every_hours',
  'async_checkpoint',
  'init_checkpoint',
  'init_checkpoint_required',
  'accept_other_data',
  'allow_shared_images',
)


def examine(
  experiment: experiment_lib.Experiment,
  sources: Mapping[str, sources_lib.Source],
  *,
  mode: str,
  model_dir: str | None,
) -> stored_data.Findings:
  """Compares data and settings with those that a run began with.

  Args:
    experiment: What is to run.
    sources: What it reads, 'train_data' or 'eval_data' or both, as far as they
      can be opened; synthetic data is not among them.
    mode: One of `controller.MODES`.
    model_dir: Folder of the run, or None if not given.
  """
  findings = stored_data.Findings(experiment.run.accept_other_data)
  splits = ['eval_data'] if mode != 'train' else []
  splits += ['train_data'] if mode in _TRAINING_MODES else []
  now = stored_data.facts_now(experiment, sources, splits=splits)
  try:
    if model_dir and checkpoint_files.exist(model_dir):
      stored_data.compare_with_run(
        findings, experiment, now, model_dir=model_dir
      )
      _compare_settings(findings, experiment, mode=mode, model_dir=model_dir)
    else:
      stored_data.compare_splits(findings, experiment, now)
      if mode in _TRAINING_MODES and experiment.run.init_checkpoint:
        stored_data.compare_with_init_checkpoint(findings, experiment, now)
  except ValueError as e:
    findings.problems.append(str(e))
  return findings


def check(
  experiment: experiment_lib.Experiment,
  sources: Mapping[str, sources_lib.Source],
  *,
  mode: str,
  model_dir: str,
) -> stored_data.Findings:
  """Does so again where a run begins, and logs what is to be said.

  Raises:
    ValueError: If something stands in the way.
  """
  findings = examine(experiment, sources, mode=mode, model_dir=model_dir)
  if findings.problems:
    raise ValueError('\n'.join(findings.problems))
  for note in findings.notes:
    logging.warning('%s', note)
  return findings


def write_start(
  experiment: experiment_lib.Experiment,
  sources: Mapping[str, sources_lib.Source],
  *,
  model_dir: str,
  is_new: bool,
):
  """Writes what a run begins with, or with which settings it goes on.

  Args:
    experiment: With the numbers of images filled in.
    sources: What it reads.
    model_dir: Its folder.
    is_new: Whether it begins. What its data are is written then and never
      again.
  """
  if is_new:
    opened = dict(sources)
    if 'eval_data' not in opened:  # Mode 'train' does not read it.
      source = checks.open_if_there(experiment.eval_data)
      opened |= {'eval_data': source} if source else {}
    facts = stored_data.describe(experiment, opened)
    model_dir_lib.write_data(model_dir, facts)
    if facts.train.class_names:  # For the export.
      model_dir_lib.write_labels(model_dir, facts.train.class_names)
  model_dir_lib.write_experiment(model_dir, experiment)


def _compare_settings(findings, experiment, *, mode, model_dir):
  """Says which settings are not those in experiment.json."""
  try:
    stored = model_dir_lib.read_experiment(model_dir)
  except (FileNotFoundError, ValueError):
    return  # `preflight` looks after that.
  evaluation = evaluation_changes(stored, experiment)
  if evaluation:
    findings.other_evaluation_settings = True
  changes = evaluation
  if mode in _TRAINING_MODES:
    changes = _changes(experiment, stored)
  if changes:
    findings.notes.append(
      f'Other settings than those in {model_dir!r} '
      f'({model_dir_lib.EXPERIMENT_FILE}): {"; ".join(changes)}.'
    )


def evaluation_changes(
  old: experiment_lib.Experiment,
  new: experiment_lib.Experiment,
  *,
  words: str = _WORDS,
) -> list[str]:
  """Says what makes evaluations of two experiments differ.

  Args:
    old: The one.
    new: The other.
    words: What follows the name of a setting, with places for its value in the
      one and in the other.
  """
  pairs = [
    (
      f'eval_data.{name}',
      getattr(old.eval_data, name),
      getattr(new.eval_data, name),
    )
    for name in _EVALUATED_WITH
  ]
  pairs.append(('loss.name', old.loss.name, new.loss.name))
  pairs.append(('uses_ema', old.uses_ema, new.uses_ema))
  return _phrases(pairs, words=words)


def _changes(experiment, stored) -> list[str]:
  """Says which settings of a training are others."""
  old, new = stored.to_dict(), experiment.to_dict()
  return _phrases(
    (f'{part}.{name}', old[part][name], new[part][name])
    for part in new
    for name in new[part]
    if name not in _NOT_COMPARED
  )


def _phrases(pairs, *, words: str = _WORDS) -> list[str]:
  return [
    f'{name} {words.format(repr(before), repr(now))}'
    for name, before, now in pairs
    if before != now
  ]
