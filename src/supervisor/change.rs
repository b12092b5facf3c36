//! What a new configuration means for rooms that are at work: who begins anew, who is told about which camera, and
//! who is left alone.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    process::ProcessName,
    worker_config::{ResolvedConfig, Run, needs_unix_sockets},
};
use crate::{
    config::Config,
    wire::{CameraId, control::Order},
};

/// What must be done.
#[derive(Debug, Default)]
pub struct Change {
    /// These begin anew, with all cameras as they are now.
    pub restart: Vec<ProcessName>,
    /// The others hear of the cameras that changed for them.
    pub orders: Vec<(ProcessName, Order)>,
}

/// Gives every camera that stays its old number, and every other one a number that was never used in this run:
/// records that are still on their way keep their meaning. Returns the next unused number, or `None` when there is
/// none left.
#[must_use]
pub fn renumber(old: &Config, new: &mut Config, mut next: u16) -> Option<u16> {
    let known: BTreeMap<&str, CameraId> = old.cameras.iter().map(|it| (it.name.as_str(), it.id)).collect();
    for camera in &mut new.cameras {
        camera.id = match known.get(camera.name.as_str()) {
            Some(id) => *id,
            None => {
                let fresh = CameraId(next);
                next = next.checked_add(1)?;
                fresh
            }
        };
    }
    Some(next)
}

/// Compares two settings as the rooms see them.
///
/// # Errors
/// When an order cannot be written down, which would be a fault of edge-ger.
pub fn between(old: &ResolvedConfig, new: &ResolvedConfig, rooms: &[ProcessName]) -> Result<Change, serde_json::Error> {
    let mut change = Change::default();
    for room in rooms.iter().copied() {
        if View::of(old, room)?.apart_from_cameras != View::of(new, room)?.apart_from_cameras {
            change.restart.push(room);
        } else {
            change.orders.extend(camera_orders(old, new, room)?.into_iter().map(|order| (room, order)));
        }
    }
    Ok(change)
}

/// What a room knows of a setting. Comparing this, not the configuration, leaves no key forgotten: what a room is
/// not told cannot concern it, and a password that changed inside its file counts.
struct View {
    apart_from_cameras: Value,
    cameras: BTreeMap<CameraId, Value>,
}

impl View {
    fn of(setting: &ResolvedConfig, room: ProcessName) -> Result<Self, serde_json::Error> {
        let mut order = serde_json::to_value(setting.order(room, Run::default()))?;
        if let Some(fields) = order.as_object_mut().and_then(|it| it.values_mut().next()).and_then(Value::as_object_mut)
        {
            fields.remove("cameras");
            // The sandbox is closed once and for good.
            fields.insert(
                "unix_sockets".into(),
                (room == ProcessName::Infer && needs_unix_sockets(&setting.config.cameras)).into(),
            );
        }
        let mut cameras = BTreeMap::new();
        for camera in &setting.config.cameras {
            let seen = match room {
                ProcessName::Publish => Value::from(camera.name.clone()),
                ProcessName::Ingest | ProcessName::Infer => serde_json::to_value(setting.camera(room, camera))?,
            };
            cameras.insert(camera.id, seen);
        }
        Ok(Self { apart_from_cameras: order, cameras })
    }
}

fn camera_orders(
    old: &ResolvedConfig,
    new: &ResolvedConfig,
    room: ProcessName,
) -> Result<Vec<Order>, serde_json::Error> {
    let (before, after) = (View::of(old, room)?.cameras, View::of(new, room)?.cameras);
    let gone: BTreeSet<_> = before.keys().filter(|id| !after.contains_key(id)).copied().collect();
    let mut orders: Vec<_> = gone.into_iter().map(Order::DropCamera).collect();
    for camera in &new.config.cameras {
        if before.get(&camera.id) != after.get(&camera.id) {
            orders.push(Order::SetCamera(Box::new(new.camera(room, camera))));
        }
    }
    Ok(orders)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::{
        config::{
            Camera, Decimal, Decode, Gates, Model, Mqtt, Outbox, Page, Privacy, ProviderChoice, Reading, Rtsp, Site,
            Sound, Source, schedule::Schedule,
        },
        mask::Polygon,
        supervisor::worker_config::ModelFacts,
        time::Span,
        wire::control,
    };

    fn camera(id: u16, name: &str, password_file: Option<&Path>) -> Camera {
        Camera {
            id: CameraId(id),
            name: name.into(),
            source: Source::Rtsp(Rtsp {
                url: format!("rtsp://{name}.invalid/stream"),
                user: Some("viewer".into()),
                password_file: password_file.map(Path::to_path_buf),
                transport: Default::default(),
                latency_ms: 200,
                fingerprint: None,
                ca_file: None,
            }),
            decode: Decode::Auto,
            decoder: None,
            sound: Sound::Camera,
            sync_offset: Span::ZERO,
            gates: Gates::default(),
            masks: Vec::new(),
            schedule: Default::default(),
        }
    }

    fn config(scratch: &Path) -> Config {
        let secret = scratch.join("door");
        fs::write(&secret, "one\n").unwrap();
        Config {
            box_name: "hall".into(),
            state_dir: scratch.join("state"),
            site: Site { context: "museum".into(), notice: "door".into() },
            cameras: vec![camera(0, "door", Some(&secret)), camera(1, "stage", None)],
            model: Model {
                file: "m.onnx".into(),
                runtime_library: None,
                providers: vec![ProviderChoice::Cpu],
                threads: 0,
                cache_dir: "cache".into(),
            },
            reading: Reading::default(),
            mqtt: Mqtt {
                host: "broker.invalid".into(),
                port: 1883,
                user: None,
                password_file: None,
                version: Default::default(),
                tls: None,
                topic_prefix: "edge-ger".into(),
                keep_alive_s: 30,
                expiry_s: 0,
                discovery: Default::default(),
            },
            outbox: Outbox { file: "outbox.db".into(), rows_max: 10, bytes_max: 10_000, age_max_s: 60 },
            page: Page::Off,
            privacy: Privacy { pause_file: "paused".into() },
        }
    }

    fn setting(config: &Config) -> ResolvedConfig {
        let facts = ModelFacts { name: "tiny".into(), frames: 5, clip: Span::from_ms(5000) };
        ResolvedConfig::read(config.clone(), facts).unwrap()
    }

    #[test]
    fn only_those_concerned_hear_of_a_change() {
        let scratch = tempfile::tempdir().unwrap();
        // The edit, who begins anew, and who hears what.
        let check = |edit: &dyn Fn(&mut Config), restart: &[ProcessName], heard: &[(ProcessName, &str)]| {
            let old_config = config(scratch.path());
            let old = setting(&old_config);
            let mut new_config = old_config.clone();
            edit(&mut new_config);
            assert_eq!(renumber(&old_config, &mut new_config, 2), Some(2 + u16::from(3 <= new_config.cameras.len())));
            let change = between(&old, &setting(&new_config), &ProcessName::ALL).unwrap();
            assert_eq!(change.restart, restart);
            let told: Vec<_> = change
                .orders
                .iter()
                .map(|(room, order)| match order {
                    Order::SetCamera(it) => (*room, format!("set {} {}", it.camera.id.0, it.camera.name)),
                    Order::DropCamera(id) => (*room, format!("drop {}", id.0)),
                    other => panic!("{other:?}"),
                })
                .collect();
            let heard: Vec<_> = heard.iter().map(|(room, words)| (*room, (*words).to_owned())).collect();
            assert_eq!(told, heard);
        };
        use ProcessName::{Infer, Ingest, Publish};
        check(&|_| {}, &[], &[]);
        check(&|it| it.site.notice = "another door".into(), &[], &[]);
        check(&|it| it.mqtt.port = 8883, &[Publish], &[]);
        check(&|it| it.outbox.rows_max = 11, &[Publish], &[]);
        check(&|it| it.box_name = "foyer".into(), &[Publish], &[]);
        check(&|it| it.page = Page::Loopback(([127, 0, 0, 1], 8417).into()), &[Publish], &[]);
        check(&|it| it.model.threads = 2, &[Infer], &[]);
        check(&|it| it.reading.min_confidence = 0.6, &[Infer], &[]);
        // `info` names these two, and frames are wanted elsewhere.
        check(&|it| it.reading.min_group = 6, &[Infer, Publish], &[]);
        check(&|it| it.reading.hop = Span::from_ms(2500), &[Ingest, Infer, Publish], &[]);
        check(
            &|it| it.cameras[1].gates.luma_min = Decimal::new(20.0).unwrap(),
            &[],
            &[(Ingest, "set 1 stage"), (Infer, "set 1 stage")],
        );
        // The rooms' part in a schedule is the pause, and masks are of no interest to whoever sees no picture.
        let mask = || Polygon::new(vec![[0, 0], [1, 0], [0, 1]]).unwrap();
        check(&|it| it.cameras[1].masks.push(mask()), &[], &[(Infer, "set 1 stage")]);
        check(&|it| it.cameras[1].schedule = Schedule::parse(["Mon 08:00-09:00"]).unwrap(), &[], &[]);
        check(&|it| it.privacy.pause_file = "elsewhere".into(), &[], &[]);
        check(&|_| fs::write(scratch.path().join("door"), "two").unwrap(), &[], &[(Ingest, "set 0 door")]);
        check(&|it| it.cameras.swap(0, 1), &[], &[]);
        check(&|it| drop(it.cameras.remove(0)), &[], &[(Ingest, "drop 0"), (Infer, "drop 0"), (Publish, "drop 0")]);
        check(
            &|it| it.cameras.insert(0, camera(0, "bar", None)),
            &[],
            &[(Ingest, "set 2 bar"), (Infer, "set 2 bar"), (Publish, "set 2 bar")],
        );
        // The sandbox is closed for good, so a microphone that needs a socket needs a new process.
        check(
            &|it| it.cameras[1].sound = Sound::Microphone("pulseaudio:desk".into()),
            &[Infer],
            &[(Ingest, "set 1 stage")],
        );
        check(
            &|it| it.cameras[1].sound = Sound::Microphone("alsa:plughw:CARD=Mic,DEV=0".into()),
            &[],
            &[(Ingest, "set 1 stage"), (Infer, "set 1 stage")],
        );
    }

    #[test]
    fn a_pause_is_a_change_for_those_who_look_and_a_restarted_room_begins_with_it() {
        let scratch = tempfile::tempdir().unwrap();
        let config = config(scratch.path());
        let (old, mut new) = (setting(&config), setting(&config));
        new.paused.insert(CameraId(1));
        let change = between(&old, &new, &ProcessName::ALL).unwrap();
        assert_eq!(change.restart, []);
        let told = |(room, order): &(ProcessName, Order)| match order {
            Order::SetCamera(it) => (*room, it.camera.id.0, it.paused),
            other => panic!("{other:?}"),
        };
        let told: Vec<_> = change.orders.iter().map(told).collect();
        assert_eq!(told, [(ProcessName::Ingest, 1, true), (ProcessName::Infer, 1, true)]);
        for room in [ProcessName::Ingest, ProcessName::Infer] {
            let cameras = match new.order(room, Run::default()) {
                Order::Ingest(begin) => begin.cameras,
                Order::Infer(begin) => begin.cameras,
                other => panic!("{other:?}"),
            };
            assert_eq!(cameras.iter().map(|it| it.paused).collect::<Vec<_>>(), [false, true]);
        }
    }

    /// What a message may hold is the kernel's to say, so it is sent.
    #[test]
    fn a_hundred_cameras_with_all_their_masks_fit_into_one_order() {
        let scratch = tempfile::tempdir().unwrap();
        let mut config = config(scratch.path());
        let mask = Polygon::new((0..20).map(|n| [10_000 - n % 2, 10_000 - n]).collect()).unwrap();
        let masked = |id: u16| {
            let mut camera = camera(id, &format!("{id:032}"), None);
            let Source::Rtsp(rtsp) = &mut camera.source else { panic!("{camera:?}") };
            rtsp.url = format!("rtsp://{}/", "a".repeat(300));
            camera.sound = Sound::Microphone(format!("alsa:{}", "m".repeat(100)));
            camera.masks.push(mask.clone());
            camera
        };
        config.cameras = (0..100).map(masked).collect();
        let order = setting(&config).order(ProcessName::Infer, Run::default());
        let (parent, room) = control::pair().unwrap();
        parent.send(&order, &[]).unwrap();
        let (received, _) = room.receive::<Order>().unwrap().unwrap();
        assert_eq!(format!("{received:?}"), format!("{order:?}"));
    }

    #[test]
    fn passwords_reach_the_one_room_that_needs_them() {
        let scratch = tempfile::tempdir().unwrap();
        let mut config = config(scratch.path());
        let broker = scratch.path().join("broker");
        fs::write(&broker, "for the broker").unwrap();
        config.mqtt.password_file = Some(broker.clone());
        let setting = setting(&config);
        let told = |room| serde_json::to_string(&setting.order(room, Run::default())).unwrap();
        for (room, camera, mqtt) in [
            (ProcessName::Ingest, true, false),
            (ProcessName::Infer, false, false),
            (ProcessName::Publish, false, true),
        ] {
            assert_eq!(told(room).contains("\"one\""), camera, "{room}");
            assert_eq!(told(room).contains("for the broker"), mqtt, "{room}");
        }
        assert!(!format!("{setting:?}").contains("for the broker"));

        // All files that cannot be used are named at once.
        fs::write(&broker, "two\nlines\n").unwrap();
        fs::remove_file(scratch.path().join("door")).unwrap();
        let facts = ModelFacts { name: "tiny".into(), frames: 5, clip: Span::from_ms(5000) };
        let faults = ResolvedConfig::read(config, facts).unwrap_err();
        let text: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert!(text[0].starts_with("camera door: password_file: "), "{text:?}");
        assert!(text[1].starts_with("mqtt.password_file: "), "{text:?}");
    }
}
