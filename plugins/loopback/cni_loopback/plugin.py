"""What the front door starts."""

from cni.skel import Plugin

PLUGIN = Plugin("loopback", "cni_loopback")
