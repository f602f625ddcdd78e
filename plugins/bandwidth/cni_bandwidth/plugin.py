"""What the front door starts."""

from cni.skel import Plugin

PLUGIN = Plugin("bandwidth", "cni_bandwidth")
