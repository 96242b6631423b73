"""Two workers of tools/train.py on this machine, over the loopback."""

import json
import os
import socket
import subprocess
import sys
import time

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_TOOL = os.path.join(_ROOT, 'tools', 'train.py')
TIMEOUT = 600
WORKER_LOST = 75
SETTINGS = (
  '--gin_file=gin/demo.gin',
  "--gin_bindings=MODEL = 'coatnet_test'",
  '--gin_bindings=ModelConfig.blocks = (1, 1, 1, 1, 1)',
  '--gin_bindings=IMAGE_SIZE = 32',
  '--gin_bindings=BATCH_SIZE = 4',
  "--gin_bindings=DataConfig.source = 'synthetic'",
  '--gin_bindings=DataConfig.num_examples = 22',
  '--gin_bindings=train/DataConfig.randaugment = None',
  '--gin_bindings=WARMUP_EPOCHS = 0',
  '--gin_bindings=RunConfig.eval_interval_epochs = None',
  '--gin_bindings=RunConfig.checkpoint_interval_steps = 4',
  '--gin_bindings=RunConfig.steps_per_loop = 2',
)


def _free_ports(count: int) -> list[int]:
  sockets = [socket.create_server(('localhost', 0)) for _ in range(count)]
  ports = [s.getsockname()[1] for s in sockets]
  for s in sockets:
    s.close()
  return ports


def start(model_dir: str, *args: str) -> list[subprocess.Popen]:
  """Starts both workers; the first one is the chief. Words go to a file."""
  addresses = [f'localhost:{port}' for port in _free_ports(2)]
  workers = []
  for index in range(2):
    config = {
      'cluster': {'worker': addresses},
      'task': {'type': 'worker', 'index': index},
    }
    with open(f'{model_dir}.worker{index}.log', 'a') as log:
      workers.append(
        subprocess.Popen(
          [sys.executable, _TOOL, *SETTINGS, f'--model_dir={model_dir}', *args],
          cwd='/',
          env={**os.environ, 'TF_CONFIG': json.dumps(config)},
          stdout=log,
          stderr=log,
        )
      )
  return workers


def words(model_dir: str, index: int) -> str:
  """Returns all that a worker has said."""
  with open(f'{model_dir}.worker{index}.log') as f:
    return f.read()


def finish(model_dir: str, workers: list[subprocess.Popen]) -> None:
  """Waits for the end of both; raises AssertionError if one failed."""
  for index, worker in enumerate(workers):
    if worker.wait(TIMEOUT):
      raise AssertionError(words(model_dir, index))


def wait_for_file(path: str, workers: list[subprocess.Popen]) -> None:
  """Waits until a file is there, or raises AssertionError."""
  end = time.monotonic() + TIMEOUT
  while not os.path.exists(path):
    if time.monotonic() > end or any(w.poll() is not None for w in workers):
      raise AssertionError(f'{path} has not come.')
    time.sleep(0.02)


def stop(workers: list[subprocess.Popen]) -> None:
  """Ends what still runs."""
  for worker in workers:
    if worker.poll() is None:
      worker.kill()
    worker.wait()


def steps_of(model_dir: str) -> list[int]:
  """Returns the steps of which metrics.jsonl has a training loss."""
  with open(os.path.join(model_dir, 'metrics.jsonl')) as f:
    lines = [json.loads(line) for line in f]
  return [line['step'] for line in lines if 'train/loss' in line]
