"""The objects that the tests ask the API server for."""

from typing import Any

Object = dict[str, Any]

IMAGE = "localhost/pause:1"
NODE = "node"
# Every server answers with the name of its pod, and 404 to all paths but one.
_SERVE = "mkdir -p /tmp/www && hostname > /tmp/www/index.html && exec /bin/busybox httpd -f -p {port} -h /tmp/www"


def container(port: int = 80, host_port: int = 0, protocol: str = "TCP") -> Object:
    """A container that serves HTTP at a port, published at a port of the node if one is given."""
    stated: Object = {"containerPort": port, "protocol": protocol}
    if host_port:
        stated["hostPort"] = host_port
    return {
        "name": "web",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "command": ["/bin/sh", "-c", _SERVE.format(port=port)],
        "ports": [stated],
        # a Service has a pod only after the pod answers
        "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1, "failureThreshold": 1},
    }


def spec(*containers: Object, grace: int = 1, **keys: Any) -> Object:
    """A pod's specification."""
    return {
        "containers": list(containers),
        "terminationGracePeriodSeconds": grace,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "tolerations": [{"operator": "Exists"}],
        **keys,
    }


def pod(name: str, *containers: Object, **keys: Any) -> Object:
    """A pod that belongs to nobody."""
    return {
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": spec(*(containers or (container(),)), **keys),
    }


def workload(name: str, template: Object, replicas: int = 1, **strategy: Any) -> Object:
    """A Deployment of pods of one specification."""
    labels = {"app": name}
    return {
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": template},
            **({"strategy": strategy} if strategy else {}),
        },
    }


def daemon_set(name: str, template: Object, **strategy: Any) -> Object:
    """A DaemonSet of pods of one specification."""
    labels = {"app": name}
    return {
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": template},
            **({"updateStrategy": strategy} if strategy else {}),
        },
    }


def service(name: str, app: str, port: int, target: int = 80, **keys: Any) -> Object:
    """A Service for the pods of an app."""
    return {
        "metadata": {"name": name},
        "spec": {"selector": {"app": app}, "ports": [{"port": port, "targetPort": target, "protocol": "TCP"}], **keys},
    }
