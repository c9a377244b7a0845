"""``python -m triggers_api``: the same as the ``triggers`` command."""

from triggers_api.cli.main import main

main()
