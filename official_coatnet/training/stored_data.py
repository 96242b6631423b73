"""What the data of a run were when it began, and whether they still are.

`data.json` in a model_dir tells; of a folder of an earlier version what its
labels.txt and experiment.json can tell.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence

import tensorflow as tf

from official_coatnet.data import facts as facts_lib, sources as sources_lib
from official_coatnet.data.config import DataConfig
from official_coatnet.training import (
  experiment as experiment_lib,
  model_dir as model_dir_lib,
)

_ACCEPT = 'set RunConfig.accept_other_data = True'


@dataclasses.dataclass
class Findings:
  """What a comparison has found.

  Attributes:
    accepts: Whether data that are others do not stand in the way.
    problems: What stands in the way, a sentence or more each.
    notes: What is to be said, likewise.
    other_evaluation_data: Whether an evaluation is on other data than those
      of the run.
    other_evaluation_settings: Whether it has other settings.
  """

  accepts: bool = False
  problems: list[str] = dataclasses.field(default_factory=list)
  notes: list[str] = dataclasses.field(default_factory=list)
  other_evaluation_data: bool = False
  other_evaluation_settings: bool = False

  def refuse(self, fact: str, remedy: str):
    """Adds what stands in the way, or is said to be accepted."""
    if self.accepts:
      fact += ' Accepted, as RunConfig.accept_other_data is True.'
      self.notes.append(fact)
    else:
      self.problems.append(f'{fact} {remedy}')


def describe(
  experiment: experiment_lib.Experiment,
  sources: Mapping[str, sources_lib.Source],
) -> facts_lib.DataFacts:
  """Returns what is known of the data of a run, to be kept with it."""
  return facts_lib.DataFacts(
    facts_lib.describe(experiment.train_data, sources.get('train_data')),
    facts_lib.describe(experiment.eval_data, sources.get('eval_data')),
  )


def facts_now(
  experiment: experiment_lib.Experiment,
  sources: Mapping[str, sources_lib.Source],
  *,
  splits: Sequence[str],
) -> dict[str, facts_lib.SplitFacts]:
  """Returns what is known of splits now, of those that can be read."""
  return {
    split: facts_lib.describe(data, sources.get(split))
    for split in splits
    if (data := getattr(experiment, split)).source == 'synthetic'
    or split in sources
  }


def _facts_then(model_dir: str) -> tuple[facts_lib.DataFacts | None, str]:
  """Returns what is known of a run's data, and what there is to say of it."""
  stored = model_dir_lib.read_data(model_dir)
  if stored is not None:
    return stored, ''
  try:
    experiment = model_dir_lib.read_experiment(model_dir)
  except (FileNotFoundError, ValueError):
    return None, ''  # A checkpoint without its run.
  names = model_dir_lib.read_labels(model_dir)
  facts = describe(experiment, {})
  compared = 'number of classes and of images alone'
  if names:
    compared = 'class names of its labels.txt and the number of images'
    facts = facts_lib.DataFacts(
      dataclasses.replace(
        facts.train, class_names=names, class_digest=facts_lib.digest(names)
      ),
      facts.validation,
    )
  return facts, (
    f'{model_dir!r} is of a version that kept no {model_dir_lib.DATA_FILE}: '
    f'the data are compared by the {compared}.'
  )


def compare_with_run(
  findings: Findings,
  experiment: experiment_lib.Experiment,
  now: Mapping[str, facts_lib.SplitFacts],
  *,
  model_dir: str,
):
  """Compares the data of a start with those that the run began with.

  Args:
    findings: What is found is added to it.
    experiment: What is to run.
    now: Of `facts_now`.
    model_dir: Folder of the run.

  Raises:
    ValueError: If a file of the run cannot be read.
  """
  then, note = _facts_then(model_dir)
  if then is None:
    return
  if note:
    findings.notes.append(note)
  _note_what_is_unknown(findings, experiment, then, now=now)
  if 'train_data' in now:
    _compare_training_data(
      findings, experiment, then, now=now['train_data'], model_dir=model_dir
    )
  if 'eval_data' not in now:
    return
  evaluated = now['eval_data']
  told = now.get('train_data')
  if told is None or told.class_digest != evaluated.class_digest:
    difference = facts_lib.class_difference(then.train, evaluated)
    if difference:
      findings.refuse(
        f'The run in {model_dir!r} was trained on other classes than '
        f'{_origin("eval_data", experiment.eval_data)} has: {difference}.',
        'Evaluate it on the classes that it knows (DATA_DIR); if they are the '
        f'same under other names, {_ACCEPT}.',
      )
  _compare_evaluation_data(findings, experiment, then, now=evaluated)


def _note_what_is_unknown(findings, experiment, then, *, now):
  """Says where nobody can tell whether images or classes are the same."""
  for split, facts in now.items():
    before = then.train if split == 'train_data' else then.validation
    if None not in (before.content, facts.content) and (
      before.content != facts.content
    ):
      findings.notes.append(
        f'{_origin(split, getattr(experiment, split))} holds other files than '
        'the run began with: they were built again, perhaps of other images.'
      )
    if then.train.class_digest and not facts.class_digest:
      findings.notes.append(
        f'{_origin(split, getattr(experiment, split))} does not name its '
        'classes, so that they cannot be compared with those of the run.'
      )


def _compare_training_data(findings, experiment, then, *, now, model_dir):
  """Refuses to go on with data that are not those of the run."""
  run, origin = (
    f'The run in {model_dir!r}',
    _origin('train_data', experiment.train_data),
  )
  difference = facts_lib.class_difference(then.train, now)
  others = facts_lib.other_differences(then.train, now)
  if difference:
    findings.refuse(
      f'{run} was trained on other classes than {origin} has: {difference}.',
      'Give it the data of its classes (DATA_DIR), or start a run on these in '
      'a --model_dir of its own (from its weights by RunConfig.init_checkpoint '
      f"= '{model_dir}' with RunConfig.init_last_layer = False). If they are "
      f'the same classes under other names, {_ACCEPT}.',
    )
  elif 'synthetic' in (then.train.source, now.source) and others:
    findings.refuse(
      f'{run} began with other data than {origin}: {others[0]}.',
      'Made-up images are for dry runs: give them, and what they leave behind, '
      'a --model_dir of their own.',
    )
  elif others:
    findings.refuse(
      f'{run} began with other data than {origin}: {"; ".join(others)}. Epochs '
      'may come to other steps, and images may come again that it has seen.',
      'Give it the data that it began with (DATA_DIR), or train on these in a '
      f"--model_dir of its own, with RunConfig.init_checkpoint = '{model_dir}' "
      'to start from its weights. To go on all the same, as with records that '
      f'were repaired, {_ACCEPT}.',
    )


def _compare_evaluation_data(findings, experiment, then, *, now):
  """Tells a wrong evaluation set from one that is merely another."""
  others = facts_lib.other_differences(then.validation, now)
  if not others:
    return
  findings.other_evaluation_data = True
  origin = _origin('eval_data', experiment.eval_data)
  names_known = None not in (then.train.class_digest, now.class_digest)
  # Equal names say that labels are read as they should be.
  wrong = [
    phrase
    for phrase in others
    if not names_known and phrase.startswith(('`schema`', '`label_offset`'))
  ]
  if 'synthetic' in (then.validation.source, now.source):
    findings.refuse(
      f'{origin} is not what the run was evaluated on: {others[0]}.',
      'Made-up images are for dry runs: give them a --model_dir of their own.',
    )
  elif wrong:
    findings.refuse(
      f'{origin} is not what the run was evaluated on: {"; ".join(wrong)}, so '
      'that labels may mean other classes.',
      f'Set them back, or, if labels mean the same, {_ACCEPT}.',
    )
  else:
    findings.notes.append(
      f"{origin} is not the run's own evaluation set: {'; '.join(others)}."
    )


def compare_splits(
  findings: Findings,
  experiment: experiment_lib.Experiment,
  now: Mapping[str, facts_lib.SplitFacts],
):
  """Compares the classes of both splits of a run that begins.

  Two manifests are compared by `data.pairs`, which knows more of them.
  """
  if len(now) < 2 or all(f.known_from == 'manifest' for f in now.values()):
    return
  difference = facts_lib.class_difference(
    now['train_data'],
    now['eval_data'],
    words='is {} in the former and {} in the latter',
  )
  if difference:
    findings.refuse(
      f'{_origin("train_data", experiment.train_data)} and '
      f'{_origin("eval_data", experiment.eval_data)} have different classes: '
      f'{difference}.',
      'Build both of one corpus, in one go; if they are the same classes under '
      f'other names, {_ACCEPT}.',
    )


def compare_with_init_checkpoint(
  findings: Findings,
  experiment: experiment_lib.Experiment,
  now: Mapping[str, facts_lib.SplitFacts],
):
  """Refuses to keep a last layer whose classes are others, though as many.

  Raises:
    ValueError: If a file of the other run cannot be read.
  """
  if 'train_data' not in now or not experiment.run.init_last_layer:
    return
  path = experiment.run.init_checkpoint or ''
  folder = path if tf.io.gfile.isdir(path) else os.path.dirname(path)
  then, _ = _facts_then(folder)
  if then is None or then.train.num_classes != now['train_data'].num_classes:
    return
  difference = facts_lib.class_difference(then.train, now['train_data'])
  if difference:
    findings.refuse(
      f'`init_checkpoint` {path!r} was trained on other classes than '
      f'{_origin("train_data", experiment.train_data)} has, though as many: '
      f'{difference}; and its last layer is kept.',
      'Set RunConfig.init_last_layer = False for a new one; if they are the '
      f'same classes under other names, {_ACCEPT}.',
    )
  elif None in (then.train.class_digest, now['train_data'].class_digest):
    findings.notes.append(
      f'The last layer of {path!r} is kept, as it has as many classes; whether '
      'they are the same is not known, for lack of names. '
      'RunConfig.init_last_layer = False starts it anew.'
    )


def _origin(split: str, data: DataConfig) -> str:
  """Names a split and where it lies."""
  where = data.tfds_name if data.source == 'tfds' else data.data_dir
  return f'`{split}`' + (f' ({where}, split {data.split!r})' if where else '')
