"""`python -m tilefold doctor` describes the machine; every other word is the command line's."""

import sys

from ._command import main
from ._doctor import doctor

if sys.argv[1:] == ["doctor"]:
    doctor()
else:
    main()
