"""What the front door starts."""

from cni.skel import Plugin

PLUGIN = Plugin("skeleton", "cni_skeleton")
