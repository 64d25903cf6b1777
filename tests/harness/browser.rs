//! A headless Chromium with one page, told what to do over its debugging pipe: messages are JSON, each with a zero
//! byte behind it. Ended when dropped.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use nix::sys::stat::Mode;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::http_tool::chromium;
use super::{patience, until};

pub struct Browser {
    child: Child,
    orders: File,
    answers: Receiver<Value>,
    session: Value,
    number: u64,
    _profile: TempDir,
}

impl Browser {
    /// Opens this page. `None` when there is no Chromium.
    pub fn open(url: &str) -> Option<Browser> {
        let program = chromium()?;
        let profile = tempfile::tempdir().unwrap();
        let [orders, answers] = ["orders", "answers"].map(|name| profile.path().join(name));
        for pipe in [&orders, &answers] {
            nix::unistd::mkfifo(pipe, Mode::S_IRWXU).unwrap();
        }
        // It reads its descriptor 3 and writes to 4.
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" \"$@\" 3<orders 4>answers"]).arg(program);
        command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
        command.args(["--no-first-run", "--remote-debugging-pipe", "--user-data-dir=profile"]);
        command.current_dir(&profile).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        // Each of the two opens waits for its other end, in this order on both sides.
        let orders = File::options().write(true).open(orders).unwrap();
        let said = BufReader::new(File::open(answers).unwrap());
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            let messages = said.split(0).map_while(Result::ok);
            let values = messages.filter_map(|message| serde_json::from_slice(&message).ok());
            values.map(|value| sender.send(value)).take_while(Result::is_ok).for_each(drop);
        });
        let session = Value::Null;
        let mut browser = Browser { child, orders, answers, session, number: 0, _profile: profile };
        let target = browser.call("Target.createTarget", json!({ "url": url }))["targetId"].clone();
        let attached = browser.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        browser.session = attached["sessionId"].clone();
        Some(browser)
    }

    #[track_caller]
    fn call(&mut self, method: &str, params: Value) -> Value {
        self.number += 1;
        let mut order = json!({ "id": self.number, "method": method, "params": params });
        if self.session.is_string() {
            order["sessionId"] = self.session.clone();
        }
        self.orders.write_all(format!("{order}\0").as_bytes()).unwrap();
        loop {
            let answer = self.answers.recv_timeout(patience()).expect("the browser answers");
            if answer["id"] == self.number {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// The value of an expression of the page's script.
    #[track_caller]
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let result =
            self.call("Runtime.evaluate", json!({ "expression": expression, "returnByValue": true }));
        result["result"]["value"].clone()
    }

    /// Waits until the text of the first element that fits is as it should be.
    #[track_caller]
    pub fn wait_for_text(&mut self, selector: &str, is: impl Fn(&str) -> bool) {
        let expression = format!("document.querySelector({selector:?})?.textContent");
        until(&format!("the right text of {selector}"), || {
            self.evaluate(&expression).as_str().is_some_and(&is).then_some(())
        });
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
