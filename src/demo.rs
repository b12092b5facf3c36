//! A camera, a broker and the daemon in one command.
