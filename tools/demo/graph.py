# SPDX-License-Identifier: Apache-2.0
"""The ROS graph as its master and its nodes tell it, by their XML-RPC interfaces."""
import http.client
import xmlrpc.client

MASTER = "http://127.0.0.1:11311"
CALLER = "/demo"
TIMEOUT = 3.0


class _Transport(xmlrpc.client.Transport):
    def make_connection(self, host):
        return http.client.HTTPConnection(host, timeout=TIMEOUT)


def _call(uri, method, *args):
    """The value of a ROS API call; OSError where there is none."""
    try:
        proxy = xmlrpc.client.ServerProxy(uri, transport=_Transport())
        code, text, value = getattr(proxy, method)(CALLER, *args)
    except (http.client.HTTPException, xmlrpc.client.Error) as e:
        raise OSError(f"{method} at {uri}: {e}") from e
    if code != 1:
        raise OSError(f"{method} at {uri}: {text}")
    return value


def registrations():
    """All that the master knows, as a set of (kind, topic or service, node)."""
    state = _call(MASTER, "getSystemState")
    kinds = ("publisher", "subscriber", "service")
    return {(kind, name, node) for kind, entries in zip(kinds, state)
            for name, nodes in entries for node in nodes}


def nodes(known):
    return sorted({node for _, _, node in known})


def pid_of(node):
    """The node's own word for its pid: it is found by the master and answers."""
    return _call(_call(MASTER, "lookupNode", node), "getPid")


def answers():
    try:
        registrations()
    except OSError:
        return False
    return True
