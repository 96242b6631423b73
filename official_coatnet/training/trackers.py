"""Experiment trackers: others who are told the numbers of metrics.jsonl.

`RunConfig.trackers` names them. Each is a function of a step and its values, is
imported when it is asked for, and belongs to one run over all of its restarts
(trackers.json). The numbers stay in metrics.jsonl whatever becomes of them: a
tracker that fails is not called again by this process, which says so once.
"""

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from absl import logging

from official_coatnet import extras, files
from official_coatnet.training import (
  experiment as experiment_lib,
  metrics_file,
  model_dir as model_dir_lib,
)

_PROJECT = 'official_coatnet'
# As many as MLflow takes at once, and its longest value.
_PARAMS, _LONGEST = 100, 500

# A step, and its values by name.
Sink = Callable[[int, Mapping[str, float]], None]


class ToldFile(metrics_file.MetricsFile):
  """A metrics file whose lines trackers are told, too."""

  def __init__(
    self, model_dir: str, *, sinks: Mapping[str, Sink], writes: bool = True
  ):
    """Takes where the lines go.

    Args:
      model_dir: Folder of the run, whose file is written first.
      sinks: Name to tracker, from `started`.
      writes: As of MetricsFile.
    """
    super().__init__(model_dir, writes=writes)
    self._sinks = dict(sinks)

  def write(self, step: int, values: dict[str, float]):
    """Writes one line; each tracker gets the values that are finite."""
    super().write(step, values)
    known = {k: v for k, v in values.items() if math.isfinite(v)}
    for name in list(self._sinks):
      try:
        self._sinks[name](step, known)
      except Exception as e:  # Whatever another package raises.
        del self._sinks[name]
        _warn(name, e)


def _warn(name: str, error: Exception):
  words = ' '.join(str(error).split()) or type(error).__name__
  logging.warning(
    'The tracker %s cannot be reached (%s). The run goes on without it, and '
    '%s has all numbers.',
    name,
    words[:300],
    metrics_file.FILE,
  )


def problems(names: Sequence[str]) -> list[str]:
  """Says what to install where a tracker's package is missing.

  Args:
    names: As `RunConfig.trackers`.
  """
  found = []
  for name in names:
    try:
      extras.load(
        name,
        extra=name,
        purpose=f'{name!r} of RunConfig.trackers',
        instead='leave it out',
      )
    except ImportError as e:
      found.append(str(e))
  return found


@contextlib.contextmanager
def started(
  experiment: experiment_lib.Experiment, model_dir: str
) -> Iterator[dict[str, Sink]]:
  """Within it the run's trackers are there; those that can be reached.

  Args:
    experiment: What is run.
    model_dir: Its folder, by whose name the run is called.

  Yields:
    Name to tracker.
  """
  names = experiment.run.trackers
  sinks: dict[str, Sink] = {}
  with contextlib.ExitStack() as stack:
    for name in names:
      try:
        sinks[name] = stack.enter_context(_STARTS[name](experiment, model_dir))
      except Exception as e:  # Whatever another package raises.
        _warn(name, e)
    yield sinks


def _read(model_dir: str) -> dict[str, str]:
  return (
    files.read_json(os.path.join(model_dir, model_dir_lib.TRACKERS_FILE)) or {}
  )


def _keep(model_dir: str, name: str, run: str):
  """Notes which run of a tracker this one is, for when it goes on."""
  text = json.dumps({**_read(model_dir), name: run}) + '\n'
  files.write_text(os.path.join(model_dir, model_dir_lib.TRACKERS_FILE), text)


def _settings(experiment: experiment_lib.Experiment) -> dict[str, Any]:
  return {
    f'{part}.{name}': value
    for part, fields in experiment.to_dict().items()
    for name, value in fields.items()
  }


def _called(model_dir: str) -> str:
  return os.path.basename(model_dir.rstrip('/'))


@contextlib.contextmanager
def _wandb(
  experiment: experiment_lib.Experiment, model_dir: str
) -> Iterator[Sink]:
  """Weights & Biases; its own variables say which project, and where."""
  library = extras.load('wandb', extra='wandb', purpose='A tracker')
  before = _read(model_dir).get('wandb')
  run = library.init(
    project=os.environ.get('WANDB_PROJECT', _PROJECT),
    name=_called(model_dir),
    id=before,
    resume='allow',
    config=_settings(experiment),
    dir=model_dir if files.is_local(model_dir) else None,
    settings=library.Settings(console='off', silent=True),
  )
  _keep(model_dir, 'wandb', run.id)
  # Not its own count, which never goes back: a run that goes on from a
  # checkpoint does.
  run.define_metric('step')
  run.define_metric('*', step_metric='step')
  exit_code = 1
  try:
    yield lambda step, values: run.log({'step': step, **values})
    exit_code = 0
  finally:
    with _ends('wandb'):
      run.finish(exit_code=exit_code)


@contextlib.contextmanager
def _mlflow(
  experiment: experiment_lib.Experiment, model_dir: str
) -> Iterator[Sink]:
  """MLflow; MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME say where."""
  # It would try for minutes, and the run would wait.
  os.environ.setdefault('MLFLOW_HTTP_REQUEST_MAX_RETRIES', '1')
  os.environ.setdefault('MLFLOW_HTTP_REQUEST_TIMEOUT', '10')
  library = extras.load('mlflow', extra='mlflow', purpose='A tracker')
  client = library.MlflowClient()
  run = _read(model_dir).get('mlflow')
  if run is None:
    run = _new_mlflow_run(client, _called(model_dir), _settings(experiment))
    _keep(model_dir, 'mlflow', run)
  client.update_run(run, status='RUNNING')
  metric = library.entities.Metric

  def write(step: int, values: Mapping[str, float]) -> None:
    now = round(1000 * time.time())
    metrics = [metric(name, value, now, step) for name, value in values.items()]
    client.log_batch(run, metrics=metrics)

  status = 'FAILED'
  try:
    yield write
    status = 'FINISHED'
  finally:
    with _ends('mlflow'):
      client.set_terminated(run, status=status)


def _new_mlflow_run(client, name: str, settings: Mapping[str, Any]) -> str:
  title = os.environ.get('MLFLOW_EXPERIMENT_NAME', _PROJECT)
  found = client.get_experiment_by_name(title)
  number = found.experiment_id if found else client.create_experiment(title)
  run = client.create_run(number, run_name=name).info.run_id
  param = extras.load('mlflow.entities', extra='mlflow', purpose='A tracker')
  params = [
    param.Param(key, str(value)[:_LONGEST]) for key, value in settings.items()
  ]
  for start in range(0, len(params), _PARAMS):
    client.log_batch(run, params=params[start : start + _PARAMS])
  return run


@contextlib.contextmanager
def _ends(name: str) -> Iterator[None]:
  """What fails when a tracker is left does not fail the run."""
  try:
    yield
  except Exception as e:  # Whatever another package raises.
    _warn(name, e)


_STARTS = {'wandb': _wandb, 'mlflow': _mlflow}
