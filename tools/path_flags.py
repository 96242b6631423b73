"""Flags that are paths: `~` and `$HOME` mean what they mean to a shell.

A shell replaces `~` in `--model_dir ~/run`, but not in `--model_dir=~/run`, and
neither of them within quotes.
"""

from collections.abc import Sequence
from typing import Any

from absl import flags

# So that a flag belongs to the tool that calls this.
flags.disclaim_key_flags()


class _PathParser(flags.ArgumentParser):
  """Of an absolute or relative path."""

  def __init__(self, *, by_tensorflow: bool):
    super().__init__()
    self._by_tensorflow = by_tensorflow

  def flag_type(self) -> str:
    return 'path'

  def parse(self, argument: str) -> str:
    if not set(argument) & set('~$:*?[\\'):
      return argument  # Without TensorFlow, which `files` imports.
    from official_coatnet import files

    path = files.expand(argument)
    if self._by_tensorflow:
      files.check_no_pattern(path, name='the path')
    return path


def expand(arguments: Sequence[str]) -> list[str]:
  """Does for arguments without a flag what `DEFINE_path` does for flags.

  Raises:
    ValueError: If there is no such variable or user.
  """
  parser = _PathParser(by_tensorflow=False)
  return [parser.parse(argument) for argument in arguments]


def DEFINE_path(  # noqa: N802
  name: str,
  default: str | None,
  help: str,  # noqa: A002
  *,
  by_tensorflow: bool = False,
  flag_values: flags.FlagValues = flags.FLAGS,
) -> flags.FlagHolder[str | None]:
  """Defines a flag that is a path.

  Args:
    name: Of the flag.
    default: Its value where it is not given.
    help: What --help says.
    by_tensorflow: Whether TensorFlow finds its checkpoints or exports there,
      which it does not under names that look like patterns. (What we open
      ourselves is opened as it is called.)
    flag_values: Where to register it.
  """
  parser = _PathParser(by_tensorflow=by_tensorflow)
  return flags.DEFINE(
    parser, name, default, help, flag_values, flags.ArgumentSerializer()
  )


def DEFINE_multi_path(  # noqa: N802
  name: str,
  default: list[str] | None,
  help: str,  # noqa: A002
  *,
  flag_values: flags.FlagValues = flags.FLAGS,
) -> flags.FlagHolder[Any]:
  """Defines a flag that is a list of paths; each time it is given adds one."""
  return flags.DEFINE_multi(
    _PathParser(by_tensorflow=False),
    flags.ArgumentSerializer(),
    name,
    default,
    help,
    flag_values,
  )
