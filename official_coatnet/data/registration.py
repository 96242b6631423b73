"""Names of the data floor in gin files: importing this module registers them.

`@coatnet.DataConfig()` in a gin file (`@DataConfig()` for short) makes a
`config.DataConfig`, whose attributes are the parameters to bind. The class
itself is left alone: called from Python, it knows nothing of gin.
"""

import gin
from official_coatnet.data import config

gin.external_configurable(config.DataConfig, module='coatnet')
