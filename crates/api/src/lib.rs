//! Wire types v1 and the client over the unix socket.
