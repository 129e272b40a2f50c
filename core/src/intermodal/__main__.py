"""`python -m intermodal`: the command line, where its script is not on the path."""

import sys

from intermodal.commands import main

sys.exit(main())
