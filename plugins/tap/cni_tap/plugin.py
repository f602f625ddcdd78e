"""What the front door starts."""

from cni.skel import Plugin

PLUGIN = Plugin("tap", "cni_tap")
