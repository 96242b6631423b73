"""How many cycles our blocks and Model Garden's take, by the TPU's compiler.

    make tpu-report     # once: the TPU's compiler, in an environment of its own
    python tools/benchmark/tpu.py --topology=v3

lowers each distinct block of a network, forward and backward, in bfloat16, from
this package and from the MaxViT project of tf-models-official, compiles both
for one core, and prints a table by stage. The last line is the ratio of the
sums. The cycles are the compiler's estimates. Results are kept by content.
"""

import tools.prologue

import functools
from collections.abc import Callable

import tensorflow as tf
from absl import app, flags, logging

from official_coatnet.analysis.tpu import compiler
from official_coatnet.modeling import implementations, sizes
from tools import path_flags, progress
from tools.benchmark import tpu_blocks

_TOPOLOGY = flags.DEFINE_enum(
  'topology', 'v3', list(compiler.TOPOLOGIES), 'Which TPU.'
)
_MODEL = flags.DEFINE_string(
  'model', 'coatnet_3', 'Of the size table, with the layout C-C-T-T.'
)
_BATCH_PER_CORE = flags.DEFINE_integer(
  'batch_per_core', 16, 'Images.', lower_bound=1
)
_IMAGE_SIZE = flags.DEFINE_integer(
  'image_size', 224, 'Height and width in pixels.', lower_bound=32
)
_IMPLEMENTATION = flags.DEFINE_enum(
  'implementation',
  'tpu',
  list(implementations.IMPLEMENTATIONS),
  'Of our blocks.',
)
_CACHE_DIR = path_flags.DEFINE_path(
  'cache_dir', str(compiler.DEFAULT_CACHE), 'Where results are kept.'
)


def table(
  blocks: list[tpu_blocks.Block],
  cycles: dict[tuple[str, str], int],
  *,
  clock: float,
  batch_size: int,
) -> list[str]:
  """Returns the lines of the table; the last is the ratio.

  Args:
    blocks: The distinct blocks.
    cycles: By ('ours' or 'peer', name of the block).
    clock: Cycles a second.
    batch_size: Images of a pass.
  """
  lines = [f'{"M cycles":12s} {"blocks":>6s} {"ours":>8s} {"peer":>8s}  ratio']
  sums = {'ours': 0, 'peer': 0}
  for block in blocks:
    ours, peer = (cycles[who, block.name] for who in sums)
    lines.append(
      f'{block.name:12s} {block.count:6d} {ours / 1e6:8.3f} {peer / 1e6:8.3f}'
      f'  {ours / peer:.3f}'
    )
    sums['ours'] += block.count * ours
    sums['peer'] += block.count * peer
  lines.append(
    f'{"sum":12s} {sum(b.count for b in blocks):6d} '
    f'{sums["ours"] / 1e6:8.2f} {sums["peer"] / 1e6:8.2f}'
  )
  rates = [clock * batch_size / total for total in sums.values()]
  lines.append(f'{"images/s":12s} {"":6s} {rates[0]:8.1f} {rates[1]:8.1f}')
  lines.append(f'ours / peer: {sums["ours"] / sums["peer"]:.3f}')
  return lines


def _measure(blocks) -> dict[tuple[str, str], int]:
  head_size = sizes.get_size(_MODEL.value).head_size
  makers: dict[str, Callable[..., tf.keras.layers.Layer]] = {
    'ours': functools.partial(
      tpu_blocks.make_ours, implementation=_IMPLEMENTATION.value
    ),
    'peer': tpu_blocks.make_peer,
  }
  modules = {}
  lowered = progress.Progress('blocks lowered')
  for block in blocks:
    for who, make in makers.items():
      modules[who, block.name] = tpu_blocks.lower(
        block,
        functools.partial(make, block, head_size=head_size),
        batch_size=_BATCH_PER_CORE.value,
      )
      lowered(len(modules), 2 * len(blocks))
  results = compiler.compile_modules(
    modules,
    topology=_TOPOLOGY.value,
    cache_dir=_CACHE_DIR.value,
    progress=progress.Progress('blocks compiled'),
  )
  for (who, name), result in results.items():
    if result.error is not None:
      raise RuntimeError(f'{who} {name} does not compile: {result.error}')
  return {key: result.cycles for key, result in results.items()}


def main(argv):
  """Runs the benchmark."""
  if len(argv) > 1:
    raise app.UsageError(f'Unexpected arguments: {argv[1:]}')
  logging.set_verbosity(logging.WARNING)  # Model Garden tells all shapes.
  compiler.find_python()
  blocks = tpu_blocks.blocks_of(_MODEL.value, image_size=_IMAGE_SIZE.value)
  if sizes.get_size(_MODEL.value).layout != 'C-C-T-T':
    raise ValueError(
      f'--model is {_MODEL.value!r}, which has another layout than C-C-T-T; '
      'Model Garden has no such blocks.'
    )
  cycles = _measure(blocks)
  print(
    f'{_MODEL.value}, {_BATCH_PER_CORE.value} images of '
    f'{_IMAGE_SIZE.value} pixels, one core of {_TOPOLOGY.value}: the '
    "compiler's estimates"
  )
  clock = compiler.get_topology(_TOPOLOGY.value).clock
  for line in table(
    blocks, cycles, clock=clock, batch_size=_BATCH_PER_CORE.value
  ):
    print(line)


if __name__ == '__main__':
  tools.prologue.run(main, mendable=(RuntimeError,))
