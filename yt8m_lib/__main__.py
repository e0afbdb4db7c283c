"""``python -m yt8m_lib`` is the same as ``yt8m``."""

from yt8m_lib.cli import main

main()
