"""``python -m yt8m_lib`` is the same as ``yt8m``."""

from yt8m_lib.cli import main

if __name__ == "__main__":  # and not where a process of its own imports it
    main()
