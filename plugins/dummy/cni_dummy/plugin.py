"""What the front door starts."""

from cni.skel import Plugin

PLUGIN = Plugin("dummy", "cni_dummy")
