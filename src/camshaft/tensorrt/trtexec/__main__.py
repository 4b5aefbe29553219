"""`python -m camshaft.tensorrt.trtexec`."""

import sys

from camshaft.tensorrt.trtexec.main import main

sys.exit(main())
