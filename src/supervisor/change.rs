//! Compares two configurations: which workers must be restarted, and which get orders about which cameras.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::worker_config::{ResolvedConfig, RunFacts};
use crate::{
    config::Config,
    wire::{CameraId, control::Order, process::ProcessName},
};

/// What a new configuration requires.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// Workers to restart.
    pub(super) restart: Vec<ProcessName>,
    /// Orders to the others, about the cameras that changed for them.
    pub(super) orders: Vec<(ProcessName, Order)>,
}

/// Gives every camera that stays its old number, and every other one a number that was not used in this run, so that
/// records under way are not attributed to another camera. Returns the next unused number, or `None` when all are used.
#[must_use]
pub(super) fn renumber(old: &Config, new: &mut Config, mut next: u16) -> Option<u16> {
    let known: BTreeMap<&str, CameraId> = old.cameras.iter().map(|camera| (camera.name.as_str(), camera.id)).collect();
    for camera in &mut new.cameras {
        camera.id = match known.get(camera.name.as_str()) {
            Some(id) => *id,
            None => {
                let unused = CameraId(next);
                next = next.checked_add(1)?;
                unused
            }
        };
    }
    Some(next)
}

/// Compares two configurations as each worker gets them.
///
/// # Errors
/// When an order cannot be serialised, which would be a fault of edge-ger.
pub(super) fn between(
    old: &ResolvedConfig,
    new: &ResolvedConfig,
    names: &[ProcessName],
) -> Result<Change, serde_json::Error> {
    let mut change = Change::default();
    for name in names.iter().copied() {
        if View::of(old, name)?.apart_from_cameras != View::of(new, name)?.apart_from_cameras {
            change.restart.push(name);
        } else {
            change.orders.extend(camera_orders(old, new, name)?.into_iter().map(|order| (name, order)));
        }
    }
    Ok(change)
}

/// A configuration as a worker gets it. Comparing this, and not the keys of the configuration, forgets no key: what a
/// worker does not get cannot concern it, and a password that changed inside of its file counts.
struct View {
    apart_from_cameras: Value,
    cameras: BTreeMap<CameraId, Value>,
}

impl View {
    fn of(resolved: &ResolvedConfig, name: ProcessName) -> Result<Self, serde_json::Error> {
        let mut order = serde_json::to_value(resolved.order(name, RunFacts::default()))?;
        let config_of_worker = order.as_object_mut().and_then(|variant| variant.values_mut().next());
        if let Some(fields) = config_of_worker.and_then(Value::as_object_mut) {
            fields.remove("cameras");
        }
        let mut cameras = BTreeMap::new();
        for camera in &resolved.config.cameras {
            let view = match name {
                ProcessName::Publish => Value::from(camera.name.clone()),
                ProcessName::Ingest | ProcessName::Infer => serde_json::to_value(resolved.camera(name, camera))?,
            };
            cameras.insert(camera.id, view);
        }
        Ok(Self { apart_from_cameras: order, cameras })
    }
}

fn camera_orders(
    old: &ResolvedConfig,
    new: &ResolvedConfig,
    name: ProcessName,
) -> Result<Vec<Order>, serde_json::Error> {
    let (before, after) = (View::of(old, name)?.cameras, View::of(new, name)?.cameras);
    let removed: BTreeSet<_> = before.keys().filter(|id| !after.contains_key(id)).copied().collect();
    let mut orders: Vec<_> = removed.into_iter().map(Order::DropCamera).collect();
    for camera in &new.config.cameras {
        if before.get(&camera.id) != after.get(&camera.id) {
            orders.push(Order::SetCamera(Box::new(new.camera(name, camera))));
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
            Camera, Decimal, Decode, Gates, Host, Integer, Model, Mqtt, Outbox, Page, Reading, Rtsp, SecretFile, Site,
            SiteContext, Sound, Source, Text, schedule::Schedule,
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
            site: Site { context: SiteContext("museum".into()), notice: Text("door".into()) },
            cameras: vec![camera(0, "door", Some(&secret)), camera(1, "stage", None)],
            model: Model::default(),
            reading: Reading::default(),
            mqtt: Mqtt { host: Host("broker.invalid".into()), ..Mqtt::default() },
            outbox: Outbox { file: "outbox.db".into(), rows_max: 10, bytes_max: 10_000, age_max_s: 60 },
            page: Page::Off,
            pause_file: "paused".into(),
        }
    }

    fn resolved(config: &Config) -> ResolvedConfig {
        let facts = ModelFacts { name: "tiny".into(), frames: 5, clip: Span::from_ms(5000) };
        ResolvedConfig::read(config.clone(), facts).unwrap()
    }

    #[test]
    fn a_change_reaches_only_the_processes_that_it_concerns() {
        let scratch = tempfile::tempdir().unwrap();
        // The edit, the processes that restart, and the orders to the others.
        let check = |edit: &dyn Fn(&mut Config), restart: &[ProcessName], expected: &[(ProcessName, &str)]| {
            let old_config = config(scratch.path());
            let old = resolved(&old_config);
            let mut new_config = old_config.clone();
            edit(&mut new_config);
            assert_eq!(renumber(&old_config, &mut new_config, 2), Some(2 + u16::from(3 <= new_config.cameras.len())));
            let change = between(&old, &resolved(&new_config), &ProcessName::ALL).unwrap();
            assert_eq!(change.restart, restart);
            let orders: Vec<_> = change
                .orders
                .iter()
                .map(|(name, order)| match order {
                    Order::SetCamera(it) => (*name, format!("set {} {}", it.camera.id.0, it.camera.name)),
                    Order::DropCamera(id) => (*name, format!("drop {}", id.0)),
                    other => panic!("{other:?}"),
                })
                .collect();
            let expected: Vec<_> = expected.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
            assert_eq!(orders, expected);
        };
        use ProcessName::{Infer, Ingest, Publish};
        check(&|_| {}, &[], &[]);
        check(&|config| config.site.notice = Text("another door".into()), &[], &[]);
        check(&|config| config.mqtt.port = Some(Integer::new(8883).unwrap()), &[Publish], &[]);
        check(&|config| config.outbox.rows_max = 11, &[Publish], &[]);
        check(&|config| config.box_name = "foyer".into(), &[Publish], &[]);
        check(&|config| config.page = Page::Loopback(([127, 0, 0, 1], 8417).into()), &[Publish], &[]);
        check(&|config| config.model.threads = Integer::new(2).unwrap(), &[Infer], &[]);
        check(&|config| config.reading.min_confidence = Decimal::new(0.6).unwrap(), &[Infer], &[]);
        // `info` has both keys, and the hop changes which frames are wanted.
        check(&|config| config.reading.min_group = Integer::new(6).unwrap(), &[Infer, Publish], &[]);
        check(&|config| config.reading.hop_s = Decimal::new(2.5).unwrap(), &[Ingest, Infer, Publish], &[]);
        check(
            &|config| config.cameras[1].gates.luma_min = Decimal::new(20.0).unwrap(),
            &[],
            &[(Ingest, "set 1 stage"), (Infer, "set 1 stage")],
        );
        // Schedules reach the processes as pauses, and only `infer` has pictures to mask.
        let mask = || Polygon::new(vec![[0, 0], [1, 0], [0, 1]]).unwrap();
        check(&|config| config.cameras[1].masks.push(mask()), &[], &[(Infer, "set 1 stage")]);
        check(&|config| config.cameras[1].schedule = Schedule::parse(["Mon 08:00-09:00"]).unwrap(), &[], &[]);
        check(&|config| config.pause_file = "elsewhere".into(), &[], &[]);
        check(&|_| fs::write(scratch.path().join("door"), "two").unwrap(), &[], &[(Ingest, "set 0 door")]);
        check(&|config| config.cameras.swap(0, 1), &[], &[]);
        check(
            &|config| drop(config.cameras.remove(0)),
            &[],
            &[(Ingest, "drop 0"), (Infer, "drop 0"), (Publish, "drop 0")],
        );
        check(
            &|config| config.cameras.insert(0, camera(0, "bar", None)),
            &[],
            &[(Ingest, "set 2 bar"), (Infer, "set 2 bar"), (Publish, "set 2 bar")],
        );
        // A sandbox cannot be opened again, so a microphone that needs a socket needs a new process.
        check(
            &|config| config.cameras[1].sound = Sound::Microphone("pulseaudio:desk".into()),
            &[Infer],
            &[(Ingest, "set 1 stage")],
        );
        check(
            &|config| config.cameras[1].sound = Sound::Microphone("alsa:plughw:CARD=Mic,DEV=0".into()),
            &[],
            &[(Ingest, "set 1 stage"), (Infer, "set 1 stage")],
        );
    }

    #[test]
    fn a_pause_is_an_order_to_ingest_and_infer_and_part_of_their_configuration() {
        let scratch = tempfile::tempdir().unwrap();
        let config = config(scratch.path());
        let (old, mut new) = (resolved(&config), resolved(&config));
        new.paused.insert(CameraId(1));
        let change = between(&old, &new, &ProcessName::ALL).unwrap();
        assert_eq!(change.restart, []);
        let told = |(name, order): &(ProcessName, Order)| match order {
            Order::SetCamera(it) => (*name, it.camera.id.0, it.paused),
            other => panic!("{other:?}"),
        };
        let told: Vec<_> = change.orders.iter().map(told).collect();
        assert_eq!(told, [(ProcessName::Ingest, 1, true), (ProcessName::Infer, 1, true)]);
        for name in [ProcessName::Ingest, ProcessName::Infer] {
            let cameras = match new.order(name, RunFacts::default()) {
                Order::Ingest(begin) => begin.cameras,
                Order::Infer(begin) => begin.cameras,
                other => panic!("{other:?}"),
            };
            assert_eq!(cameras.iter().map(|order| order.paused).collect::<Vec<_>>(), [false, true]);
        }
    }

    /// The kernel limits the size of a message, so it is really sent.
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
        let order = resolved(&config).order(ProcessName::Infer, RunFacts::default());
        let (parent, worker) = control::pair().unwrap();
        parent.send(&order, &[]).unwrap();
        let (received, _) = worker.receive::<Order>().unwrap().unwrap();
        assert_eq!(format!("{received:?}"), format!("{order:?}"));
    }

    #[test]
    fn passwords_reach_only_the_process_that_needs_them() {
        let scratch = tempfile::tempdir().unwrap();
        let mut config = config(scratch.path());
        let broker = scratch.path().join("broker");
        fs::write(&broker, "for the broker").unwrap();
        config.mqtt.password_file = Some(SecretFile(broker.clone()));
        let resolved = resolved(&config);
        let told = |name| serde_json::to_string(&resolved.order(name, RunFacts::default())).unwrap();
        for (name, camera, mqtt) in [
            (ProcessName::Ingest, true, false),
            (ProcessName::Infer, false, false),
            (ProcessName::Publish, false, true),
        ] {
            assert_eq!(told(name).contains("\"one\""), camera, "{name}");
            assert_eq!(told(name).contains("for the broker"), mqtt, "{name}");
        }
        assert!(!format!("{resolved:?}").contains("for the broker"));

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
