//! The dashboards in the programs that they are for, where a registry has these: Prometheus and Node-RED. Grafana itself is
//! in none, but its schema is.
//!
//! What the daemon publishes comes from its real room, at a clock set by hand.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crossbeam_channel::bounded;
use edge_ger::{
    config::Page,
    wire::record::{CameraFault, CameraState, Outcome, Reading, Record, Vital, Withheld},
};
use serde_json::Value;

use crate::it::{
    harness::{
        broker::{Broker, DEADLINE, free_port},
        daemon::repository,
        http::get,
        program::Program,
    },
    publish::{FIRST_SLOT, Room, begin, reading, vital},
};

const TOKEN: &str = "0123456789abcdef";
/// These programs take seconds to start, and longer where others work beside them.
const PATIENCE: Duration = DEADLINE.saturating_mul(2);

fn in_the_dark(slot: u64) -> Reading {
    Reading { outcome: Outcome::Withheld(Withheld::Dark), ..reading(slot) }
}

fn unreachable() -> Record {
    Record::Vital(Vital { state: CameraState::Offline, fault: CameraFault::Unreachable, ..vital() })
}

/// A program that `make setup-test` has fetched.
fn tool(path: &str) -> String {
    let file = repository("tests/.tools").join(path);
    assert!(file.exists(), "{} is not there: make setup-test fetches it", file.display());
    file.to_str().unwrap().to_owned()
}

/// A program that steps back behind the tests of live media that run beside it.
fn behind(program: &str) -> Command {
    let mut command = Command::new("nice");
    command.args(["-n", "19", program]);
    command
}

fn read(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap()
}

/// The text with each of these in place of what it stands for; each must be there.
#[track_caller]
fn with(text: &str, places: &[(&str, &str)]) -> String {
    places.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "there is no {from:?}");
        text.replace(from, to)
    })
}

/// Prometheus with the scrape configuration and the alerts of `dashboards/`, hurried.
struct Prometheus {
    address: SocketAddr,
    _program: Program,
}

impl Prometheus {
    fn start(folder: &Path, page: SocketAddr) -> Self {
        let places = [
            ("scrape_interval: 15s", "scrape_interval: 1s\n  evaluation_interval: 1s"),
            ("127.0.0.1:8417", &page.to_string()),
        ];
        let config = folder.join("prometheus.yml");
        fs::write(&config, with(&read("dashboards/prometheus.yml"), &places)).unwrap();
        fs::write(folder.join("edge-ger.token"), TOKEN).unwrap();
        fs::copy(repository("dashboards/prometheus-rules.yml"), folder.join("prometheus-rules.yml")).unwrap();
        let promtool = Command::new(tool("prometheus/usr/bin/promtool"))
            .args(["check", "config", "--lint=all"])
            .arg(&config)
            .output()
            .unwrap();
        assert!(promtool.status.success(), "{promtool:?}");
        let address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
        let (config, data) =
            (format!("--config.file={}", config.display()), format!("--storage.tsdb.path={}/data", folder.display()));
        let mut program = Program::start(behind(&tool("prometheus/usr/bin/prometheus")).args([
            &config,
            &data,
            &format!("--web.listen-address={address}"),
        ]));
        program.wait_line("Server is ready", PATIENCE);
        Self { address, _program: program }
    }

    fn ask(&self, path: &str) -> Value {
        let answer = get(self.address, path, &[]);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        // What is sent in chunks has their lengths around it.
        let (from, to) = (answer.text.find('{').unwrap(), answer.text.rfind('}').unwrap());
        serde_json::from_str(&answer.text[from..=to]).unwrap()
    }

    /// The series that an expression gives now.
    fn now(&self, expression: &str) -> Vec<Value> {
        self.ask(&format!("/api/v1/query?query={}", escaped(expression)))["data"]["result"].as_array().unwrap().clone()
    }

    /// The series that an expression has given in this test, as a graph asks for them.
    fn lately(&self, expression: &str) -> Vec<Value> {
        let end: f64 = self.now("time()")[1].as_str().unwrap().parse().unwrap();
        let times = format!("start={}&end={end}&step=1", end - 120.0);
        self.ask(&format!("/api/v1/query_range?query={}&{times}", escaped(expression)))["data"]["result"]
            .as_array()
            .unwrap()
            .clone()
    }

    /// Asks until there is an answer.
    #[track_caller]
    fn wait_for(&self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        let (_keep, never) = bounded::<()>(0);
        while self.now(expression).is_empty() {
            assert!(Instant::now() < deadline, "{expression} gives nothing");
            never.recv_timeout(Duration::from_millis(100)).unwrap_err();
        }
    }
}

/// As it stands in a URL.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|it| if it.is_ascii_alphanumeric() { char::from(it).to_string() } else { format!("%{it:02X}") })
        .collect()
}

/// The room with a guarded page, and where that listens.
fn guarded(folder: &Path) -> (Room, SocketAddr) {
    let mut begin = begin(free_port(), folder);
    begin.page = Page::Guarded { address: ([127, 0, 0, 1], 0).into(), token_file: folder.join("page.token") };
    begin.page_token = Some(edge_ger::config::Secret::new(TOKEN.to_owned()));
    let (room, ready) = Room::resume(begin, FIRST_SLOT);
    let address = ready.split_once("page http://").expect(&ready).1.trim_end_matches('/').parse().unwrap();
    (room, address)
}

#[test]
fn prometheus_answers_every_question_of_the_dashboard() {
    let folder = tempfile::tempdir().unwrap();
    let (mut room, page) = guarded(folder.path());
    let metrics = get(page, "/metrics", &[&format!("Authorization: Bearer {TOKEN}")]);
    assert_eq!(metrics.status, 200);
    let mut promtool = Command::new(tool("prometheus/usr/bin/promtool"));
    let mut promtool =
        promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut promtool.stdin.take().unwrap(), metrics.text.as_bytes()).unwrap();
    let said = promtool.wait_with_output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));

    let prometheus = Prometheus::start(folder.path(), page);
    room.say(&Record::Vital(vital()).to_bytes());
    prometheus.wait_for("edge_ger_camera_online == 1");
    room.read();
    prometheus.wait_for("edge_ger_emotion_probability_ratio");
    room.read_at(1, in_the_dark);
    prometheus.wait_for("edge_ger_withheld_total{reason=\"dark\"} == 1");
    room.say(&unreachable().to_bytes());
    prometheus.wait_for("edge_ger_camera_fault_info{fault=\"unreachable\"}");
    prometheus.wait_for("ALERTS{alertname=\"EdgeGerCameraOffline\"}");

    let dashboard: Value = serde_json::from_str(&read("dashboards/grafana-prometheus.json")).unwrap();
    let mut asked = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let expression = [("$instance", ".*"), ("$camera", ".*"), ("$__rate_interval", "30s"), ("$__range", "5m")]
                .iter()
                .fold(expression.to_owned(), |text, (name, value)| text.replace(name, value));
            let series =
                if target["instant"] == true { prometheus.now(&expression) } else { prometheus.lately(&expression) };
            assert!(!series.is_empty(), "{}: {expression} gives nothing", panel["title"]);
            for label in target["legendFormat"].as_str().unwrap().split("{{").skip(1) {
                let label = label.split_once("}}").unwrap().0;
                assert!(series.iter().all(|it| it["metric"][label].is_string()), "{label}: {series:?}");
            }
            asked += 1;
        }
    }
    assert!(12 < asked, "{asked}");
    for variable in dashboard["templating"]["list"].as_array().unwrap().iter().filter(|it| it["type"] == "query") {
        let asked = variable["query"]["query"].as_str().unwrap().strip_prefix("label_values(").unwrap();
        let (series, label) = asked.strip_suffix(')').unwrap().rsplit_once(", ").unwrap();
        let path = format!("/api/v1/label/{label}/values?match[]={}", escaped(&series.replace("$instance", ".*")));
        assert_eq!(prometheus.ask(&path)["data"].as_array().unwrap().len(), 1, "{asked}");
    }
    for rule in prometheus.ask("/api/v1/rules")["data"]["groups"][0]["rules"].as_array().unwrap() {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    room.stop();
}

/// Node-RED with the flow of `dashboards/`, whose debug nodes also write to its log.
fn node_red(folder: &Path, broker: &Broker) -> Program {
    let mut flow: Value = serde_json::from_str(&read("dashboards/node-red.json")).unwrap();
    for node in flow.as_array_mut().unwrap() {
        match node["type"].as_str().unwrap() {
            "mqtt-broker" => (node["broker"], node["port"]) = ("127.0.0.1".into(), broker.port().to_string().into()),
            "debug" => node["console"] = true.into(),
            _ => {}
        }
    }
    fs::write(folder.join("flows.json"), flow.to_string()).unwrap();
    let settings = format!(
        "module.exports = {{ flowFile: 'flows.json', uiHost: '127.0.0.1', uiPort: {}, credentialSecret: false, \
         telemetry: {{ enabled: false, updateNotification: false }}, \
         logging: {{ console: {{ level: 'info', metrics: false, audit: false }} }} }};",
        free_port()
    );
    fs::write(folder.join("settings.js"), settings).unwrap();
    let (script, folder) = (tool("node/node_modules/node-red/red.js"), folder.to_str().unwrap());
    let mut program = Program::start(behind("node").args([
        &script,
        "--userDir",
        folder,
        "--settings",
        &format!("{folder}/settings.js"),
    ]));
    program.wait_line("Connected to broker", PATIENCE);
    program
}

#[test]
fn node_red_tells_labels_reasons_and_lost_cameras_apart() {
    let (folder, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let broker = Broker::start();
    let mut flow = node_red(folder.path(), &broker);
    broker.wait_logged("edge-ger/+/+/status", 1);
    let (mut room, _) = Room::resume(begin(broker.port(), state.path()), FIRST_SLOT);
    room.say(&Record::Vital(vital()).to_bytes());
    room.read();
    flow.wait_line("[debug:label] positive", PATIENCE);
    room.read_at(1, in_the_dark);
    flow.wait_line("[debug:withheld] dark", PATIENCE);
    room.say(&unreachable().to_bytes());
    flow.wait_line("[debug:camera] offline", PATIENCE);
    assert!(!flow.said().contains("[error]"), "{}", flow.said());
    room.stop();
}

/// A dashboard's kinds of panels, and what Grafana's schema calls them.
const PANELS: &[(&str, &str)] = &[
    ("barchart", "BarChart"),
    ("stat", "Stat"),
    ("state-timeline", "StateTimeline"),
    ("table", "Table"),
    ("timeseries", "TimeSeries"),
];

/// TypeScript that the compiler takes only if each dashboard, and what its panels set, is of Grafana's own types.
fn typed(dashboards: &[Value]) -> String {
    let raw = "../node_modules/@grafana/schema/dist/esm/raw";
    let mut text = format!("import type {{ Dashboard }} from '{raw}/dashboard/x/dashboard_types.gen';\n");
    for (kind, name) in PANELS {
        let folder = kind.replace('-', "");
        text +=
            &format!("import type * as {name} from '{raw}/composable/{folder}/panelcfg/x/{name}PanelCfg_types.gen';\n");
    }
    // JSON has the words of an enumeration, not its members.
    text += "type Json<T> = T extends string ? `${T}` : T extends (infer U)[] ? Json<U>[] \
             : T extends object ? { [K in keyof T]: Json<T[K]> } : T;\n";
    for (i, dashboard) in dashboards.iter().enumerate() {
        text += &format!("export const dashboard{i}: Json<Dashboard> = {dashboard};\n");
        for panel in dashboard["panels"].as_array().unwrap() {
            let (id, kind) = (&panel["id"], panel["type"].as_str().unwrap());
            let name = PANELS.iter().find(|it| it.0 == kind).unwrap_or_else(|| panic!("{kind} is not in PANELS")).1;
            let mut set = |what: &str, value: &Value| {
                text += &format!("export const {what}{i}_{id}: Json<Partial<{name}.{what}>> = {value};\n");
            };
            set("Options", &panel["options"]);
            let custom = &panel["fieldConfig"]["defaults"]["custom"];
            if !custom.is_null() {
                set("FieldConfig", custom);
            }
        }
    }
    text
}

/// What the compiler says against the dashboards.
fn faults(dashboards: &[Value]) -> String {
    // Below the folder of the schema, where the compiler looks for it.
    let folder = tempfile::tempdir_in(repository("tests/.tools/node")).unwrap();
    let file = folder.path().join("dashboards.ts");
    fs::write(&file, typed(dashboards)).unwrap();
    let options = "--noEmit --strict --skipLibCheck --moduleResolution bundler --module esnext --target es2020";
    let mut compiler = behind("node");
    compiler.arg(tool("node/node_modules/typescript/bin/tsc")).args(options.split(' '));
    let output = compiler.arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.success(), said.is_empty(), "{output:?}");
    said
}

#[test]
fn grafanas_schema_takes_the_dashboards() {
    let dashboards = ["dashboards/grafana.json", "dashboards/grafana-prometheus.json"]
        .map(|it| serde_json::from_str::<Value>(&read(it)).unwrap());
    let said = faults(&dashboards);
    assert!(said.is_empty(), "{said}");
    // It would notice.
    let mut wrong = dashboards[0].clone();
    wrong["panels"][0]["gridPos"]["w"] = "wide".into();
    wrong["panels"][0]["options"]["showValue"] = "sometimes".into();
    let said = faults(&[wrong]);
    assert_eq!(said.matches("error TS2322").count(), 2, "{said}");
}
