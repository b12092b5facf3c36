//! edge-ger watches and listens to a room and publishes only the aggregate emotion of the group in it.
//!
//! One binary, a parent and three processes below it; data flows one way:
//! `ingest` (network, compressed media) → `infer` (pictures and sound, no network) → `publish` (64-byte records).

pub mod cli;
mod config;
mod supervisor;

mod infer;
mod ingest;
mod publish;

mod mqtt;

mod calibrate;
#[cfg(feature = "demo")]
mod demo;

mod evaluate;
mod watch;

mod backoff;
mod drift;
mod faults;
mod mask;
mod sandbox;
mod service;
mod terminal;
mod time;
mod wire;

/// What the benchmarks and the generator of the manual use, which are crates of their own. Not an interface.
#[doc(hidden)]
#[allow(missing_docs, reason = "each item has its documentation where it is defined")]
pub mod inside {
    pub mod backoff {
        pub use crate::backoff::Backoff;
    }
    pub mod config {
        pub use crate::config::{Host, Integer, Mqtt, Outbox, Page};
        pub mod file {
            pub mod schema {
                pub use crate::config::file::schema::{Absent, KeySchema, SECTIONS, Scope, SectionSchema};
            }
        }
    }
    #[cfg(feature = "demo")]
    pub mod demo {
        pub mod camera {
            pub use crate::demo::camera::Camera;
        }
    }
    pub mod infer {
        pub mod decode {
            pub mod mask_painter {
                pub use crate::infer::decode::mask_painter::MaskPainter;
            }
        }
        pub mod features {
            pub mod picture {
                pub use crate::infer::features::picture::{Resize, Rgb};
            }
            pub mod sound {
                pub use crate::infer::features::sound::{LEN, Mel, SAMPLES, SoundFeatures};
            }
        }
    }
    pub mod mask {
        pub use crate::mask::Polygon;
    }
    pub mod mqtt {
        pub use crate::mqtt::FailureKind;
    }
    pub mod publish {
        pub use crate::publish::{Error, run};
    }
    pub mod service {
        pub mod logging {
            pub use crate::service::logging::print_error;
        }
    }
    pub mod time {
        pub use crate::time::{Clock, Moment, Span, SystemClock};
    }
    pub mod wire {
        pub use crate::wire::CameraId;
        pub mod control {
            pub use crate::wire::control::{MqttSecrets, Order, PublishConfig, Report, record_pair};
        }
        pub mod record {
            pub use crate::wire::record::{Emotion, Outcome, Reading, Record, Withheld, example};
        }
    }
}

// The whole-part tests are part of the crate, so that nothing is public for their sake alone and rustc sees dead code.
#[cfg(test)]
extern crate self as edge_ger;
#[cfg(test)]
#[path = "../tests/it/main.rs"]
mod it;
