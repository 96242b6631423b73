"""The tables of docs/tpu.md: what is costed for them, and how they are written.

A table is rows; a row is a run's gin file, bindings, a TPU generation and a
batch, and has figures, a JSON object. Those of all rows are kept in a file
beside the page, so that a table can be made over several days and written again
without a compiler.
"""

import dataclasses
import itertools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from official_coatnet import files
from official_coatnet.analysis.tpu import compiler as compiler_lib

# Of the pre-training runs of Table 5: 14 epochs of 300 million images.
JFT_IMAGES = 14 * 300_000_000
SECONDS_A_DAY = 86_400
_BEGIN, _END = '<!-- tables: begin -->', '<!-- tables: end -->'
_MISSING = 'not compiled'


@dataclasses.dataclass(frozen=True)
class Row:
  """One row of a table.

  Attributes:
    label: What it is called in the table.
    gin_file: The run.
    topology: A generation.
    bindings: Over the gin file.
    batch_per_core: Images of a step on one core.
    mode: 'train' for the training step, or for inference 'forward', or
      'forward_cached' with cached relative biases.
    paper_core_days: TPUv3-core-days of Table 5.
  """

  label: str
  gin_file: str
  topology: str
  bindings: tuple[str, ...] = ()
  batch_per_core: int = 16
  mode: str = 'train'
  paper_core_days: float | None = None

  @property
  def key(self) -> str:
    """Names the figures."""
    name = pathlib.Path(self.gin_file).stem
    parts = (
      name,
      *self.bindings,
      self.topology,
      str(self.batch_per_core),
      self.mode,
    )
    return ' '.join(parts)


@dataclasses.dataclass(frozen=True)
class Table:
  """A table: its first row is what the others are compared with.

  Attributes:
    name: For the command line.
    title: Its heading.
    claim: What the paper says, with its place; or what is looked at.
    rows: Its rows.
  """

  name: str
  title: str
  claim: str
  rows: tuple[Row, ...]


def _row(label, topology, *bindings, **kwargs):
  """A row of CoAtNet-3 as it is pre-trained on JFT, in its readable form."""
  return Row(label, _JFT_3, topology, (_REFERENCE, *bindings), **kwargs)


_JFT_3 = 'gin/jft_coatnet3.gin'
_GENERATIONS = ('v3', 'v4', 'v5e', 'v5p', 'v6e', 'tpu7x')
# The form that the paper's claims are about: look-ups and all as they say.
_REFERENCE = "ModelConfig.implementation = 'reference'"
_EXPAND = "ModelConfig.downsample = 'expand_conv'"
_DEPTHWISE = "ModelConfig.downsample = 'depthwise'"
_GATHER = "ModelConfig.lookup = 'gather'"
_NO_BIAS = "ModelConfig.relative_attention = 'none'"
_LAYER_NORM = "ModelConfig.norm = 'layer_norm'"
_HEAD_64 = 'ModelConfig.head_size = 64'


# What TPUs run by default, and what it is measured against.
_FORMS = (('', ()), (', reference', (_REFERENCE,)))


def _tables() -> tuple[Table, ...]:
  return (
    Table(
      'table5',
      'Table 5: pre-training on JFT',
      'TPUv3-core-days of 300 M images x 14 epochs at 224.',
      _pretraining_rows(),
    ),
    Table(
      'generations',
      'Six generations',
      'The training step of CoAtNet-3 on one core, as libtpu sees cores: half '
      'a chip of v3, v4 and TPU7x, a whole chip of the others.',
      tuple(Row(t, _JFT_3, t) for t in _GENERATIONS),
    ),
    Table(
      'tpu7x',
      'Six sizes on TPU7x',
      'The training step at 224 on one core, half a chip: CoAtNet-0 to 2 as '
      'they are trained on ImageNet-1K, CoAtNet-3 to 5 as on JFT. TensorFlow '
      'itself does not run there (docs/pods.md).',
      tuple(
        Row(f'CoAtNet-{n}', f'gin/{data}_coatnet{n}.gin', 'tpu7x')
        for n, data in enumerate(3 * ('imagenet1k',) + 3 * ('jft',))
      ),
    ),
    *_bias_tables(),
    *_block_tables(),
  )


def _pretraining_rows() -> tuple[Row, ...]:
  networks = (
    ('CoAtNet-3', 16, 580),
    ('CoAtNet-4', 16, 950),
    ('CoAtNet-5', 8, 1820),
  )
  return tuple(
    Row(
      f'{name}{suffix}',
      f'gin/jft_{name.lower().replace("-", "")}.gin',
      'v3',
      bindings,
      batch_per_core=batch,
      paper_core_days=days,
    )
    for suffix, bindings in _FORMS
    for name, batch, days in networks
  )


def _bias_tables() -> tuple[Table, ...]:
  """Those of the relative bias."""
  lookups = (('einsum', ()), ('gather', (_GATHER,)), ('no bias', (_NO_BIAS,)))
  at_inference = (
    ('einsum', (), 'forward'),
    ('gather', (_GATHER,), 'forward'),
    ('cached', (), 'forward_cached'),
  )
  return (
    Table(
      'lookup',
      'Relative bias: einsum, gather, none',
      'Appendix A.1: on TPU two einsums look the bias up, at a cost "strictly '
      'subsumed" by the attention; gather is for GPUs.',
      tuple(
        _row(f'{name}, {topology}', topology, *bindings)
        for topology, (name, bindings) in itertools.product(
          ('v3', 'v5e'), lookups
        )
      ),
    ),
    Table(
      'inference',
      'Relative bias at inference: einsum, gather, cached',
      'Appendix A.1: caching the looked-up bias increases the throughput at '
      'inference.',
      tuple(
        _row(
          f'{name}, {batch} images',
          'v3',
          *bindings,
          batch_per_core=batch,
          mode=mode,
        )
        for batch, (name, bindings, mode) in itertools.product(
          (1, 16), at_inference
        )
      ),
    ),
  )


def _block_tables() -> tuple[Table, ...]:
  """Those of what blocks are made of."""
  small = 'gin/imagenet1k_coatnet0.gin'
  return (
    Table(
      'norm',
      'BatchNorm against LayerNorm in MBConv',
      'Section 4.3: BatchNorm is 10 to 20 % faster on TPU.',
      (_row('BatchNorm', 'v3'), _row('LayerNorm', 'v3', _LAYER_NORM)),
    ),
    Table(
      'heads',
      'Head size 32 against 64',
      'Section 4.3: heads of 64 improve the TPU speed "by a significant '
      'amount".',
      (_row('32', 'v3'), _row('64', 'v3', _HEAD_64)),
    ),
    Table(
      'stride',
      'Stride in the expanding convolution against the depthwise one',
      'Appendix A.1: the stride in the depthwise convolution is slower when '
      'the model is small, but not so much when it scales.',
      (
        Row('CoAtNet-0, expanding', small, 'v3', (_REFERENCE,)),
        Row('CoAtNet-0, depthwise', small, 'v3', (_REFERENCE, _DEPTHWISE)),
        _row('CoAtNet-3, expanding', 'v3', _EXPAND),
        _row('CoAtNet-3, depthwise', 'v3'),
      ),
    ),
  )


def get_tables(names: Sequence[str] = ()) -> tuple[Table, ...]:
  """Returns the tables of these names, or all.

  Raises:
    ValueError: If a name is unknown.
  """
  tables = {table.name: table for table in _tables()}
  unknown = [name for name in names if name not in tables]
  if unknown:
    raise ValueError(
      f'Table {unknown[0]!r} is unknown; it must be one of {", ".join(tables)}.'
    )
  return tuple(tables[name] for name in names or tables)


def read_figures(path: str) -> dict[str, dict[str, Any]]:
  """Reads figures by `Row.key`; none if there is no file yet."""
  return files.read_json(path) or {}


def write_figures(path: str, figures: Mapping[str, Mapping[str, Any]]):
  """Writes figures, in the order of their keys."""
  text = json.dumps(dict(sorted(figures.items())), indent=1)
  files.write_text(path, text + '\n')


def make_figures(report: Mapping[str, Any], *, compiler: str) -> dict[str, Any]:
  """Keeps of a report of `report.cost` what a table shows.

  Args:
    report: The report.
    compiler: Its name and version.
  """
  fields = ('cycles', 'ms', 'images_per_second_per_core')
  return {
    **{name: report[name] for name in fields},
    'model_flop_utilization': report['model_flop_utilization'],
    'stages': {s['stage']: s['cycles'] for s in report['stages']},
    'compiler': compiler,
  }


def core_days(images_per_second_per_core: float) -> float:
  """Returns the core-days of Table 5's pre-training at a speed."""
  return JFT_IMAGES / images_per_second_per_core / SECONDS_A_DAY


def render(figures: Mapping[str, Mapping[str, Any]]) -> str:
  """Writes all tables as Markdown; a row without figures says so."""
  rendered = [_render_table(table, figures) for table in get_tables()]
  return '\n'.join([_render_cores(), *rendered])


def _render_cores() -> str:
  """Writes what the figures of all tables refer to."""
  lines = [
    '### Cores',
    '',
    '`compiler.py` has the sources. Memory is what a program may use.',
    '',
    '|  | A core is | GHz | TFLOP/s | GiB | GB/s |',
    '|---|---|---|---|---|---|',
  ]
  for name, core in compiler_lib.TOPOLOGIES.items():
    lines.append(
      f'| {name} | {core.core} | {core.clock / 1e9:.2f} | '
      f'{core.peak_flops / 1e12:.1f} | {core.hbm / 2**30:.2f} | '
      f'{core.bandwidth / 1e9:.0f} |'
    )
  return '\n'.join(lines) + '\n'


def _render_table(table: Table, figures) -> str:
  with_days = any(row.paper_core_days for row in table.rows)
  # Without days, against the first row of the same run, core and batch.
  groups = [(r.gin_file, r.topology, r.batch_per_core) for r in table.rows]
  with_ratio = not with_days and len(set(groups)) < len(groups)
  head = ['', 'Images', 'M cycles', 'ms', 'Images/s/core', 'MFU']
  head += ['Core-days', 'Paper', 'Ratio'] if with_days else []
  head += ['Cycles'] if with_ratio else []
  lines = [f'### {table.title}', '', table.claim, '']
  lines += ['| ' + ' | '.join(head) + ' |', '|---' * len(head) + '|']
  bases: dict[tuple[str, str, int], float] = {}
  for row, group in zip(table.rows, groups):
    found = figures.get(row.key)
    cells = [row.label, str(row.batch_per_core)]
    if found is None:
      cells += [_MISSING] + [''] * (len(head) - 3)
    else:
      cells += [
        f'{found["cycles"] / 1e6:.1f}',
        f'{found["ms"]:.1f}',
        f'{found["images_per_second_per_core"]:.1f}',
        f'{100 * found["model_flop_utilization"]:.1f} %',
      ]
      if with_days:
        cells += _days(row, found)
      elif with_ratio:
        base = bases.setdefault(group, found['cycles'])
        cells.append(f'{found["cycles"] / base:.3f}')
    lines.append('| ' + ' | '.join(cells) + ' |')
  return '\n'.join(lines) + '\n'


def _days(row: Row, found) -> list[str]:
  assert row.paper_core_days is not None  # As all rows of its table have.
  days = core_days(found['images_per_second_per_core'])
  return [
    f'{days:.0f}',
    f'{row.paper_core_days:.0f}',
    f'{days / row.paper_core_days:.2f}',
  ]


def put_into_page(page: str, tables: str) -> str:
  """Replaces what is between the markers of a page.

  Raises:
    ValueError: If the page has no markers.
  """
  if _BEGIN not in page or _END not in page:
    raise ValueError(
      f'The page has no place for tables: it needs a line {_BEGIN} and, after '
      f'it, a line {_END}.'
    )
  head, rest = page.split(_BEGIN, 1)
  _, tail = rest.split(_END, 1)
  return f'{head}{_BEGIN}\n\n{tables}\n{_END}{tail}'
