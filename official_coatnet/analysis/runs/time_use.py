"""Where the time of a run went, as a table with bars."""

from collections.abc import Mapping, Sequence
from typing import Any

from official_coatnet.training import goodput, listener

_BAR = 24
_WORDS = {
  goodput.STEP: 'training steps',
  goodput.INPUT_WAIT: 'input wait',
  goodput.EVALUATION: 'evaluation',
  goodput.CHECKPOINT: 'checkpoints',
  goodput.COMPILATION: 'compilation',
  goodput.STARTUP: 'start-up',
  goodput.RESTORE: 'restoring',
  goodput.RESTART: 'between restarts',
  goodput.LOST: 'lost work',
  goodput.OTHER: 'other',
}


def summarize(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
  """Sums up where the time of a run went, over its restarts.

  Args:
    metrics: Lines of metrics.jsonl.

  Returns:
    `seconds` of each of `goodput.NAMES`, their sum `total`, `goodput`, the
    share of the training steps, `core_hours` of all of it, on a TPU v3
    `tpu_v3_core_days`, else None, and `advice`, a sentence or None; None for a
    run that did not count.
  """
  seconds = goodput.of_lines(metrics)
  if seconds is None:
    return None
  total = sum(seconds.values())
  last = [line for line in metrics if line.get(goodput.CORES) is not None][-1]
  core_hours = total * last[goodput.CORES] / 3600
  return {
    'seconds': seconds,
    'total': total,
    'goodput': seconds[goodput.STEP] / total if total else 0.0,
    'core_hours': core_hours,
    'tpu_v3_core_days': core_hours / 24 if last.get(goodput.TPU_V3) else None,
    'advice': goodput.advice(seconds),
  }


def format_text(found: Mapping[str, Any]) -> str:
  """Writes a summary of `summarize` as a table with bars."""
  total, hours = found['total'], found['core_hours']
  words = f'{listener.format_duration(total)}, {hours:.3g} core-hours'
  if found['tpu_v3_core_days'] is not None:
    words += f' = {found["tpu_v3_core_days"]:.3g} TPUv3-core-days (Table 5)'
  lines = [
    f'wall time, from the first start: {words}; '
    f'{100 * found["goodput"]:.1f} % of it trained (goodput)'
  ]
  for name, seconds in found['seconds'].items():
    if not seconds:
      continue
    share = seconds / total
    bar = '#' * round(_BAR * share)
    core_hours = hours * share
    lines.append(
      f'  {_WORDS[name]:<16}  {bar:<{_BAR}}  {100 * share:5.1f} %  '
      f'{listener.format_duration(seconds):>12}  {core_hours:8.3g} core-hours'
    )
  if found['advice']:
    lines.append(found['advice'])
  return '\n'.join(lines)
