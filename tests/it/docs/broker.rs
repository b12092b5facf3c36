//! The example broker of the documentation, run for real: who may do what.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
};

use crossbeam_channel::bounded;

use crate::it::{
    docs::read,
    harness::broker::{DEADLINE, Pki, free_port},
};

/// A mosquitto with the example's configuration and list.
struct Example {
    process: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Drop for Example {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Example {
    fn start(users: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let pki = Pki::new();
        for (name, text) in [
            ("ca.pem", &pki.ca_pem),
            ("server.pem", &pki.server_pem),
            ("server.key", &pki.server_key),
            ("acl", &read("docs/examples/mosquitto.acl")),
            ("passwords", &String::new()),
        ] {
            fs::write(at(name), text).unwrap();
        }
        for user in users {
            let made = Command::new("mosquitto_passwd").arg("-b").arg(at("passwords")).args([user, "secret"]).status();
            assert!(made.unwrap().success());
        }
        let example = read("docs/examples/mosquitto.conf");
        let example = example.replace("/etc/mosquitto/edge-ger/", &format!("{}/", folder.path().display()));
        assert!(example.contains("listener 8883\n"));
        // Between finding a free port and mosquitto's taking it, another program may be faster.
        for _ in 0..20 {
            let port = free_port();
            let config = example.replace("listener 8883\n", &format!("listener {port} 127.0.0.1\n"));
            // As root it would otherwise become a user who may not read the folder.
            fs::write(at("conf"), format!("user root\nlog_dest stderr\nlog_type all\n{config}")).unwrap();
            if let Some(process) = launch(&at("conf")) {
                return Self { process, port, folder };
            }
        }
        panic!("mosquitto does not start with the example");
    }

    /// One of mosquitto's clients, as this user.
    fn client(&self, program: &str, user: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.args(["-V", "5", "-q", "1", "-h", "localhost", "-u", user, "-P", "secret", "-p"]);
        command.arg(self.port.to_string()).arg("--cafile").arg(self.folder.path().join("ca.pem"));
        command.args(arguments).output().unwrap()
    }

    /// Publishes a retained message. Whether the broker took it.
    fn publish(&self, user: &str, topic: &str, text: &str) -> bool {
        let output = self.client("mosquitto_pub", user, &["-r", "-t", topic, "-m", text]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.is_empty() || said.contains("Not authorized"), "{said}");
        said.is_empty()
    }
}

/// `None` if it ended before it was ready.
fn launch(config: &Path) -> Option<Child> {
    let mosquitto = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"].into_iter().find(|it| Path::new(it).exists());
    let mut command = Command::new(mosquitto.unwrap_or("mosquitto"));
    let mut process = command.arg("-c").arg(config).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let (ready, is_ready) = bounded(1);
    // Read to its end, or mosquitto would wait for room in the pipe.
    let listen = move || {
        for line in lines.map_while(Result::ok) {
            if line.contains(" running") {
                ready.try_send(()).ok();
            }
        }
    };
    thread::Builder::new().name("mosquitto's log".into()).spawn(listen).unwrap();
    if is_ready.recv_timeout(DEADLINE).is_ok() {
        return Some(process);
    }
    process.kill().ok();
    process.wait().unwrap();
    None
}

#[test]
fn a_box_may_speak_for_itself_and_for_nobody_else() {
    let broker = Example::start(&["box-1", "box-2", "dashboard"]);
    assert!(broker.publish("box-2", "edge-ger/box-2/status", "online"));
    assert!(!broker.publish("box-1", "edge-ger/box-2/status", "forged"));
    assert!(!broker.publish("box-1", "elsewhere", "forged"));
    assert!(!broker.publish("dashboard", "edge-ger/box-2/status", "forged"));
    assert!(broker.publish("box-1", "edge-ger/box-1/hall/reading", "{}"));
    let looked =
        broker.client("mosquitto_sub", "dashboard", &["-t", "edge-ger/#", "-F", "%t %p", "-C", "2", "-W", "30"]);
    let mut seen: Vec<_> = std::str::from_utf8(&looked.stdout).unwrap().lines().collect();
    seen.sort_unstable();
    assert_eq!(seen, ["edge-ger/box-1/hall/reading {}", "edge-ger/box-2/status online"], "{looked:?}");
    let stranger = broker.client("mosquitto_pub", "box-3", &["-t", "edge-ger/box-3/status", "-m", "online"]);
    assert!(!stranger.status.success(), "a user who is not known: {stranger:?}");
}
