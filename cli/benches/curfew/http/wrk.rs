//! `wrk`: as many requests as 32 connections can have answered, and what each of them cost the server.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::server::Server;

/// What one turn under load showed.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Requests a second, in thousands.
    pub rate: f64,
    /// CPU time of the server for each request, in microseconds.
    pub cost: f64,
}

/// Loads a server for so long. `script` is one of wrk's, to send something else than `GET /`.
pub fn load(server: &Server, turn: Duration, script: Option<&Path>) -> Result<Load> {
    let mut command = Command::new("wrk");
    command.args(["-t1", "-c32", &format!("-d{}s", turn.as_secs())]);
    if let Some(script) = script {
        command.arg("-s").arg(script);
    }
    command.arg(format!("http://{}/", server.address()?));
    let before = server.cpu_time()?;
    let output = command.output().context("wrk (make setup installs it)")?;
    let spent = server.cpu_time()?.saturating_sub(before);
    let text = String::from_utf8_lossy(&output.stdout);
    let clean = output.status.success() && !text.contains("Non-2xx") && !text.contains("Socket errors");
    ensure!(clean, "{command:?}: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    let rate: f64 = number(&text, |line| line.strip_prefix("Requests/sec:"))?;
    let requests: f64 = number(&text, |line| line.split_once(" requests in ").map(|(count, _)| count))?;
    Ok(Load { rate: rate / 1e3, cost: spent.as_secs_f64() * 1e6 / requests })
}

fn number(text: &str, find: impl Fn(&str) -> Option<&str>) -> Result<f64> {
    let found = text.lines().find_map(|line| find(line.trim()));
    let found = found.with_context(|| format!("wrk says something else:\n{text}"))?;
    Ok(found.trim().parse()?)
}
