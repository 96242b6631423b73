"""The flags that name a gin file, and the experiment that they make.

One place for all tools that take one: what a gin file may do on this machine is
said by --allow_imports alone.
"""

import dataclasses
from typing import Any

from absl import flags

from tools import path_flags, prologue

# So that the flags belong to the tool that calls this.
flags.disclaim_key_flags()


@dataclasses.dataclass(frozen=True)
class GinFlags:
  """--gin_file, --gin_bindings and --allow_imports of a tool."""

  files: flags.FlagHolder[Any]
  bindings: flags.FlagHolder[Any]
  allow_imports: flags.FlagHolder[Any]

  def load(self, *, also: tuple[str, ...] = (), **kwargs: Any) -> Any:
    """Returns the experiment.

    Args:
      also: Bindings after those of the command line.
      **kwargs: Of `gin_config.load`.

    Raises:
      ConfigError: If a file, name, macro, value or import is wrong.
    """
    # Here, since TensorFlow takes seconds, and a wrong flag is said before.
    from official_coatnet.training import gin_config

    return gin_config.load(
      self.files.value or [],
      [*self.bindings.value, *also],
      root=prologue.ROOT,
      allow_imports=self.allow_imports.value,
      **kwargs,
    )


def DEFINE_gin(  # noqa: N802
  default: list[str] | None,
  *,
  file_help: str,
  bindings_help: str,
  flag_values: flags.FlagValues = flags.FLAGS,
) -> GinFlags:
  """Defines the flags.

  Args:
    default: Of --gin_file.
    file_help: What --help says of it.
    bindings_help: What --help says of --gin_bindings.
    flag_values: Where to register them.
  """
  return GinFlags(
    files=path_flags.DEFINE_multi_path(
      'gin_file', default, file_help, flag_values=flag_values
    ),
    bindings=flags.DEFINE_multi_string(
      'gin_bindings', [], bindings_help, flag_values=flag_values
    ),
    allow_imports=flags.DEFINE_list(
      'allow_imports',
      [],
      'Python packages that the gin file may import, and so run, by comma. '
      'Without it a gin file imports nothing.',
      flag_values=flag_values,
    ),
  )
