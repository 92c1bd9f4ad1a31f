//! One actor, the executor, the observer and HTTP on the unix socket.
