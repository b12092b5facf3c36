//! The broker, through rumqttc.
