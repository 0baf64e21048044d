//! Sockets, pinned workers and mailboxes
