"""Reports on a run, or on several side by side.

    python tools/report.py runs/demo/model
    python tools/report.py runs/seed0 runs/seed1 --html=report.html

As text it is a table: how far each run is, its evaluations, its speed, and the
settings that differ. With --html it is a page that holds all it needs: curves,
accuracy by class and the most confused pairs (of `train.py --mode=eval
--per_class`), relative biases, model card and configuration.
"""

import tools.prologue

import os

import tensorflow as tf
from absl import app, flags

from official_coatnet import files
from official_coatnet.analysis.runs import comparison, history, report
from tools import path_flags, progress

_HTML = path_flags.DEFINE_path(
  'html', None, 'Page to write, such as report.html; else text is printed.'
)
_HEADS = flags.DEFINE_list(
  'heads',
  None,
  'With --html: numbers of the attention heads whose relative biases are '
  'drawn, from 0, such as 0,5,7; the first four if not given.',
)
_LAYERS = flags.DEFINE_list(
  'layers',
  None,
  'With --html: layers of which they are, or beginnings of their names, such '
  'as s3,s4; the first and the last of each stage if not given.',
)


def _parse_heads() -> list[int] | None:
  if _HEADS.value is None:
    return None
  if not all(head.isdecimal() for head in _HEADS.value):
    raise app.UsageError(
      f'--heads={",".join(_HEADS.value)}: it must be whole numbers from 0 on, '
      'such as 0,5,7.'
    )
  return [int(head) for head in _HEADS.value]


def _check_html(path: str):
  """Raises an error that says so, where no page can be made or written."""
  if not path.endswith(('.html', '.htm')):
    raise ValueError(f'--html={path}: it is a page; let it end in .html.')
  if tf.io.gfile.isdir(path):
    raise OSError(f'--html={path} is a folder; name a file in it.')
  folder = os.path.dirname(path)
  if folder:
    files.make_folder(folder)
  report.check()


def main(argv):
  """Prints or writes the report."""
  if len(argv) < 2:
    raise app.UsageError(
      'Name one folder of a run or more, as in report.py runs/demo/model.'
    )
  heads = _parse_heads()
  if not _HTML.value and (heads or _LAYERS.value):
    raise app.UsageError('--heads and --layers choose what --html draws.')
  if _HTML.value:
    _check_html(_HTML.value)
  tf.get_logger().setLevel('ERROR')
  histories = history.read(path_flags.expand(argv[1:]))
  print(comparison.format_text(histories))
  if _HTML.value:
    depths = [
      progress.depth(h.experiment.model) for h in histories if h.experiment
    ]
    with progress.Steps(
      f'Writing {_HTML.value}', report.STEPS, scale=sum(depths)
    ) as show:
      text = report.make_page(
        histories, heads=heads, layers=_LAYERS.value, on_step=show
      )
    files.write_text(_HTML.value, text)
    print(f'\nWritten: {_HTML.value} ({len(text.encode()) / 1e6:.1f} MB)')


if __name__ == '__main__':
  tools.prologue.run(main)
