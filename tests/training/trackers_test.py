import contextlib
import json
import os
import struct
import sys
from unittest import mock

from absl.testing import absltest

from official_coatnet.training import metrics_file, trackers
from tests.fixtures import experiments, newest_stack

LINE = {'epoch': 1.0, 'train/loss': 2.5, 'train/top1': float('nan')}


def make(*names):
  return experiments.make_experiment(run={'trackers': names, 'seed': 7})


class ToldTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def test_each_gets_what_is_finite(self):
    heard = []
    told = trackers.ToldFile(
      self.folder,
      sinks={'a': lambda step, values: heard.append((step, values))},
    )
    told.write(3, LINE)
    self.assertEqual(heard, [(3, {'epoch': 1.0, 'train/loss': 2.5})])
    [line] = metrics_file.read(self.folder)
    self.assertEqual(line, {'step': 3, **LINE, 'train/top1': None})

  def test_one_that_fails_is_left_out_and_said_so_once(self):
    heard = []

    def fail(step, values):
      raise ConnectionError('no route\nto host')

    sinks = {'bad': fail, 'good': lambda *line: heard.append(line)}
    told = trackers.ToldFile(self.folder, sinks=sinks)
    with self.assertLogs(level='WARNING') as logs:
      for step in (1, 2, 3):
        told.write(step, LINE)
    self.assertLen(logs.output, 1)
    self.assertIn(
      'The tracker bad cannot be reached (no route to host)', logs.output[0]
    )
    self.assertLen(heard, 3)
    self.assertLen(metrics_file.read(self.folder), 3)

  def test_missing_packages(self):
    self.assertEmpty(trackers.problems(()))
    with mock.patch.dict(sys.modules, {'wandb': None, 'mlflow': None}):
      first, second = trackers.problems(('wandb', 'mlflow'))
    self.assertIn("'wandb' of RunConfig.trackers takes the package", first)
    self.assertIn('official_coatnet[mlflow]', second)

  def test_one_that_does_not_start(self):
    with mock.patch.dict(sys.modules, {'wandb': mock.MagicMock()}):
      sys.modules['wandb'].init.side_effect = OSError('no such host')
      with self.assertLogs(level='WARNING') as logs:
        with trackers.started(make('wandb'), self.folder) as sinks:
          self.assertEmpty(sinks)
    self.assertIn('wandb cannot be reached (no such host)', logs.output[0])


@newest_stack.only('The trackers')
class OfflineTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir('run').full_path

  def report(self, name, *, steps):
    with trackers.started(make(name), self.folder) as sinks:
      self.assertEqual(list(sinks), [name])
      told = trackers.ToldFile(self.folder, sinks=sinks)
      for step in steps:
        told.write(step, {'epoch': step / 10, 'train/loss': 1 / step})

  def stored(self):
    with open(os.path.join(self.folder, 'trackers.json')) as f:
      return json.load(f)

  def test_mlflow(self):
    store = self.create_tempdir('store').full_path
    values = {
      'MLFLOW_TRACKING_URI': f'file://{store}',
      'MLFLOW_EXPERIMENT_NAME': 'mine',
      'MLFLOW_ALLOW_FILE_STORE': 'true',
    }
    with mock.patch.dict(os.environ, values):
      self.report('mlflow', steps=(1, 2))
      run = self.stored()['mlflow']
      # A restart goes on in the same run.
      self.report('mlflow', steps=(4,))
      self.assertEqual(self.stored()['mlflow'], run)
      import mlflow

      client = mlflow.MlflowClient()
      found = client.get_run(run)
      history = client.get_metric_history(run, 'train/loss')
    self.assertEqual(found.info.status, 'FINISHED')
    self.assertEqual(found.info.run_name, 'run')
    self.assertEqual(found.data.params['run.seed'], '7')
    self.assertEqual(
      [(m.step, m.value) for m in history], [(1, 1.0), (2, 0.5), (4, 0.25)]
    )

  def test_mlflow_that_is_not_there(self):
    values = {'MLFLOW_TRACKING_URI': 'http://127.0.0.1:1'}
    with mock.patch.dict(os.environ, values):
      with self.assertLogs(level='WARNING') as logs:
        with trackers.started(make('mlflow'), self.folder) as sinks:
          self.assertEmpty(sinks)
    found = [line for line in logs.output if 'The tracker mlflow' in line]
    self.assertLen(found, 1)

  def test_wandb_offline(self):
    values = {'WANDB_MODE': 'offline', 'WANDB_SILENT': 'true'}
    with mock.patch.dict(os.environ, values):
      with contextlib.redirect_stdout(None):
        self.report('wandb', steps=(1, 2))
        run = self.stored()['wandb']
        self.report('wandb', steps=(4,))
    self.assertEqual(self.stored()['wandb'], run)
    # A transaction log a start, each of this run.
    found = [
      name
      for _, _, names in os.walk(os.path.join(self.folder, 'wandb'))
      for name in names
      if name.endswith('.wandb')
    ]
    self.assertEqual(found, [f'run-{run}.wandb'] * 2)
    losses = []
    for folder, _, names in os.walk(os.path.join(self.folder, 'wandb')):
      for name in names:
        if name.endswith('.wandb'):
          losses += read_losses(os.path.join(folder, name))
    self.assertCountEqual(losses, [(1, 1.0), (2, 0.5), (4, 0.25)])


def read_losses(path):
  """Returns (step, loss) of a transaction log: LevelDB's form, with a head."""
  from wandb.proto import wandb_internal_pb2

  with open(path, 'rb') as f:
    contents = f.read()
  found, record, place = [], b'', 7
  while place + 7 <= len(contents):
    size, kind = struct.unpack_from('<HB', contents, place + 4)
    if kind:
      record += contents[place + 7 : place + 7 + size]
    place += 7 + size
    if 32768 - place % 32768 < 7:
      place += 32768 - place % 32768
    if kind in (1, 4):  # Whole, or the last part.
      message = wandb_internal_pb2.Record.FromString(record)
      record = b''
      items = {
        '/'.join([item.key, *item.nested_key]).strip('/'): item.value_json
        for item in message.history.item
      }
      if 'train/loss' in items:
        values = (items['step'], items['train/loss'])
        found.append(tuple(map(json.loads, values)))
  return found


if __name__ == '__main__':
  absltest.main()
