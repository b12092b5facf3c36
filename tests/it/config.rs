//! Configurations, good and broken, through the real command.
