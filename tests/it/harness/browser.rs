//! Headless Chromium, spoken to over a pair of pipes with its own DevTools protocol.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::Instant,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use crossbeam_channel::{Receiver, bounded};
use serde_json::{Value, json};

use super::broker::DEADLINE;

/// A browser with one page.
pub(crate) struct Browser {
    process: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    session: Option<String>,
    asked: u64,
    /// Errors and warnings of the page's console, refusals by its policy among them.
    pub(crate) complaints: Vec<String>,
    _folder: tempfile::TempDir,
}

impl Browser {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The protocol uses descriptors 3 and 4. Chromium's own sandbox does not work for root, which test machines
        // often are; the only page that it sees is ours. It steps back behind the tests of live media that run beside it.
        let script = "exec nice -n 19 chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage \
                      --disable-background-networking --disable-extensions --no-first-run --hide-scrollbars \
                      --remote-debugging-pipe --user-data-dir=\"$1\" about:blank 3<&0 4>&1 >/dev/null 2>&1";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(folder.path()).env("HOME", folder.path()).env("TZ", "UTC");
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, out) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let (sender, from) = bounded(10_000);
        let read = move || {
            let messages = BufReader::new(out).split(0).map_while(Result::ok);
            messages
                .filter_map(|it| serde_json::from_slice(&it).ok())
                .for_each(|it| sender.send(it).unwrap_or_default());
        };
        thread::Builder::new().name("browser".into()).spawn(read).unwrap();
        let mut browser = Self { process, to, from, session: None, asked: 0, complaints: Vec::new(), _folder: folder };
        let target = browser.ask("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = browser.ask("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.ask(domain, json!({}));
        }
        browser
    }

    /// Gives an order and waits for its answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, method: &str, parameters: Value) -> Value {
        self.asked += 1;
        let mut message = json!({ "id": self.asked, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let sent = self.to.write_all(format!("{message}\0").as_bytes());
        sent.expect("chromium is there: install it, or type `make setup-test`");
        let deadline = Instant::now() + DEADLINE;
        loop {
            let answer = self.from.recv_deadline(deadline);
            let answer =
                answer.unwrap_or_else(|err| panic!("{method}: {err}; is chromium installed (make setup-test)?"));
            if answer["id"] == self.asked {
                assert!(answer.get("error").is_none(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
            match answer["method"].as_str() {
                Some("Log.entryAdded") => self.complaints.push(answer["params"]["entry"].to_string()),
                Some("Runtime.exceptionThrown") => self.complaints.push(answer["params"].to_string()),
                _ => {}
            }
        }
    }

    /// Opens a page.
    #[track_caller]
    pub(crate) fn open(&mut self, url: &str) {
        let gone = self.ask("Page.navigate", json!({ "url": url }));
        assert!(gone.get("errorText").is_none(), "{url}: {gone}");
    }

    /// The value of an expression of the page; of a promise, what it comes to.
    #[track_caller]
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let how = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let found = self.ask("Runtime.evaluate", how);
        assert!(found.get("exceptionDetails").is_none(), "{expression}: {}", found["exceptionDetails"]);
        found["result"]["value"].clone()
    }

    /// Waits until this holds of the page, and returns the page's text as it is then.
    #[track_caller]
    pub(crate) fn wait_until(&mut self, condition: &str) -> String {
        let wait = format!(
            "new Promise((done) => {{
                const look = () => {{ if ({condition}) done(document.body.innerText); }};
                const all = {{ subtree: true, childList: true, characterData: true, attributes: true }};
                new MutationObserver(look).observe(document, all);
                look();
            }})"
        );
        self.evaluate(&wait).as_str().unwrap().to_owned()
    }

    /// Sets the size of the window, and whether dark colours are preferred.
    pub(crate) fn look(&mut self, width: u32, height: u32, phone: bool, dark: bool) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": if phone { 2 } else { 1 }, "mobile": phone });
        self.ask("Emulation.setDeviceMetricsOverride", size);
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.ask("Emulation.setEmulatedMedia", media);
    }

    /// What is open is as wide as its window and can be read, light and dark, at a desk and on a phone; `open` makes it so
    /// after each change. Pictures of it are left for people to look at.
    #[track_caller]
    pub(crate) fn assert_fits(&mut self, page: &str, mut open: impl FnMut(&mut Self)) {
        for (name, width, phone, dark) in [
            ("light", 1200, false, false),
            ("dark", 1200, false, true),
            ("phone", 360, true, false),
            ("phone-dark", 360, true, true),
        ] {
            self.look(width, 900, phone, dark);
            open(self);
            let wide = self.evaluate("document.documentElement.scrollWidth").as_u64().unwrap();
            assert!(wide <= u64::from(width), "{page}, {name}: {wide} wide");
            self.picture(&format!("{page}-{name}"));
            self.assert_contrast(name);
        }
    }

    /// All text stands out from what is behind it by 4.5 to 1 at least (WCAG 2.2, 1.4.3).
    #[track_caller]
    pub(crate) fn assert_contrast(&mut self, name: &str) {
        let poor = self.evaluate(
            "(() => {
                const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
                const part = (it) => (it /= 255) <= .04045 ? it / 12.92 : ((it + .055) / 1.055) ** 2.4;
                const light = ([r, g, b]) => .2126 * part(r) + .7152 * part(g) + .0722 * part(b);
                const behind = (it) => {
                    for (; it; it = it.parentElement) {
                        const color = numbers(getComputedStyle(it).backgroundColor);
                        if (color.length === 3 || color[3] > 0) return color;
                    }
                    return [255, 255, 255];
                };
                const poor = [];
                for (const it of document.body.querySelectorAll('*')) {
                    const own = [...it.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
                    if (!own || !it.checkVisibility() || ['SCRIPT', 'STYLE', 'NOSCRIPT'].includes(it.tagName)) continue;
                    const [a, b] = [light(numbers(getComputedStyle(it).color)), light(behind(it))].sort((x, y) => y - x);
                    const ratio = (a + .05) / (b + .05);
                    if (ratio < 4.5) poor.push(it.textContent.slice(0, 40) + ': ' + ratio.toFixed(2));
                }
                return poor;
            })()",
        );
        assert_eq!(poor, json!([]), "{name}");
    }

    /// Leaves a picture of the whole page in the tests' folder of the build.
    pub(crate) fn picture(&mut self, name: &str) {
        let file = crate::it::harness::daemon::scratch().join(format!("{name}.png"));
        let shot = self.ask("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": true }));
        std::fs::write(file, STANDARD.decode(shot["data"].as_str().unwrap()).unwrap()).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
