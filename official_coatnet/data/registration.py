"""Names of the data floor in gin files."""

import gin

from official_coatnet.data import config


def register() -> None:
  """Registers all that gin files configure; a second call changes nothing.

  `@coatnet.DataConfig()` in a gin file (`@DataConfig()` for short) then makes a
  `config.DataConfig`, whose attributes are the parameters to bind. The class
  itself is left alone: called from Python, it knows nothing of gin.
  """
  try:
    gin.get_configurable('coatnet.DataConfig')
  except ValueError:  # Not registered yet.
    gin.register(config.DataConfig, module='coatnet')
