"""Shards built on Apache Beam: on Dataflow, Flink, Spark or this machine.

The same tasks as elsewhere, hence the same bytes; a cluster carries them out.
Workers write to `output_dir`, which must be a file system that all of them see,
and read the sources from there as well.
"""

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from official_coatnet import extras
from official_coatnet.records import processes, receipts, writing


def map_tasks(
  function: Callable[[writing.Task, processes.TaskProgress], writing.Shard],
  tasks: Iterable[writing.Task],
  *,
  progress: processes.TaskProgress,
  runner: str,
  options: Sequence[str] = (),
) -> Iterator[writing.Shard]:
  """Writes shards on Apache Beam.

  Args:
    function: writes a shard and its receipt.
    tasks: the shards to write.
    progress: called once, at the end, with the number of examples.
    runner: name of the Beam runner: 'DirectRunner', 'DataflowRunner', ...
    options: further options of the pipeline, as on a command line.

  Yields:
    What is in each shard, from their receipts.

  Raises:
    ImportError: if Apache Beam is not installed.
  """
  beam, pipeline_options = (
    extras.load(
      module,
      extra='beam',
      purpose=f'The runner {runner!r} of Apache Beam',
      instead='leave the runner out to use the processes of this machine',
    )
    for module in ('apache_beam', 'apache_beam.options.pipeline_options')
  )
  tasks = list(tasks)
  if not tasks:
    return
  pipeline = beam.Pipeline(
    options=pipeline_options.PipelineOptions([f'--runner={runner}', *options])
  )
  _ = (
    pipeline
    # Pickled here, so that what travels does not depend on Beam's own way.
    | 'Tasks' >> beam.Create([pickle.dumps(task) for task in tasks])
    # Otherwise one worker would get all that one step has made.
    | 'Spread' >> beam.Reshuffle()
    | 'Write' >> beam.Map(_carry_out, function=function)
  )
  pipeline.run().wait_until_finish()
  for task in tasks:
    found = receipts.load(
      [task.path], task.unfinished, fingerprint=task.fingerprint
    )
    if not found:
      raise ValueError(
        f'{task.path} is not there after the pipeline has ended; check that '
        'output_dir is a file system that workers and this machine share.'
      )
    (shard,) = found.values()
    progress(shard.num_items)
    yield shard


def _carry_out(task: bytes, *, function: Any) -> None:
  # Beam reads annotations, and fails at that of a callable's arguments.
  function(pickle.loads(task), lambda number: None)
