"""The names that an export has for the classes, held against the run."""

from collections.abc import Sequence

from official_coatnet.data import facts as facts_lib
from official_coatnet.export import versions
from official_coatnet.training import (
  experiment as experiment_lib,
  model_dir as model_dir_lib,
)


def read(
  experiment: experiment_lib.Experiment, model_dir: str, *, labels: str | None
) -> tuple[list[str], str]:
  """Returns the names of the classes: those given, the run's, or numbers.

  Args:
    experiment: Of the run.
    model_dir: Its folder.
    labels: Text file with one class name a line, or None.

  Returns:
    The names; and, for the model card, which of these they are.

  Raises:
    ValueError: If there are none where there were some, or they are not those
      that the run was trained on.
  """
  num_classes = experiment.model.num_classes
  data = model_dir_lib.read_data(model_dir)
  trained_on = data.train.class_names if data else None
  known = data is not None and data.train.class_digest is not None
  file = labels or model_dir_lib.find_labels(model_dir)
  if file is None:
    if trained_on:
      return list(trained_on), 'those that the run was trained on'
    if known:
      raise ValueError(
        f'{model_dir!r} has no {model_dir_lib.LABELS_FILE} any more, which '
        f'named its {num_classes} classes; copy it back, or give the names by '
        '--labels.'
      )
    return [str(i) for i in range(num_classes)], 'none: the ids of the classes'
  names = versions.read_labels(file, num_classes=num_classes)
  if known:
    _check_names(names, trained_on, file=file, given=labels is not None)
  if labels is not None:
    return names, 'given when it was exported (`--labels`)'
  if known:
    return names, 'those that the run was trained on'
  return names, (
    f'`{model_dir_lib.LABELS_FILE}` of the run, which kept no others '
    f'(`{model_dir_lib.DATA_FILE}`) to compare them with'
  )


def _check_names(
  names: Sequence[str],
  trained_on: Sequence[str] | None,
  *,
  file: str,
  given: bool,
):
  """Compares class names with those that the weights were trained on.

  Args:
    names: Of a file.
    trained_on: Those of the run; None if they are too many for its data.json,
      and its labels.txt has others.
    file: Where the names are from.
    given: Whether the user names the file, and so may call classes otherwise;
      in another order they would be wrong all the same.
  """
  difference: str | None = 'it is another list of names'
  if trained_on is not None:
    difference = facts_lib.names_difference(
      trained_on,
      names,
      words='was {} in training and is {} there',
    )
  is_order = trained_on is not None and sorted(names) == sorted(
    name.strip() for name in trained_on
  )
  if difference is None or (given and not is_order):
    return
  remedy = 'give the names in the order of the run'
  if not given:
    remedy = (
      'put the file back as it was, or delete it; if they are the same classes '
      f'under other names, say so by --labels={file}'
    )
  raise ValueError(
    f'{file!r} does not name the classes that the run was trained on '
    f'({model_dir_lib.DATA_FILE}): {difference}; {remedy}.'
  )
