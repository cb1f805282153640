"""``python -m samparser_monai`` is the command ``samparser``."""

from samparser_monai.commands.app import script

if __name__ == "__main__":
    script()
