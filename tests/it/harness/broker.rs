//! A private mosquitto, on a free port.
