"""A pretended node for black-box tests: real network namespaces, real links, real plugins as processes.

``namespace`` enters network namespaces and shows what the kernel has there, ``plugin`` runs one CNI call and holds it
to the protocol's frame, ``topology`` puts node, pods and the world outside together, ``traffic`` sends packets between
them, ``configuration`` writes network configurations, ``deadline`` waits for what takes time. ``chain`` drives a list of
plugins as libcni does, ``ports`` connects to published ports, ``published`` puts pods with such ports on a bridge.
``dying`` kills calls half-way, ``tracing`` watches them from below. ``containerd`` (with ``cri``) and ``podman`` are real
runtimes on a node; ``image`` is what they run.
"""
