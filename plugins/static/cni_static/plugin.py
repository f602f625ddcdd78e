"""What the front door starts."""

from cni.skel import Plugin

PLUGIN = Plugin("static", "cni_static", "unused")
