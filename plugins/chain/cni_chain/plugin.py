"""What the front door starts."""

from cni.skel import Plugin

PLUGIN = Plugin("chain", "cni_chain", "unused")
