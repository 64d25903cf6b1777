//! The page on containers and the recipe for Kubernetes, in containers: the image is built as the page says, and the commands of
//! both run. What podman lacks of Kubernetes is done by hand: the probes are sent, the kubelet's TERM and KILL are `stop`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use artifacts::{HELLO_HTTP, HTTP_LAB_CLASSIC};

use super::fence::{self, Fence};
use super::{read, seconds};
use crate::harness::{Address, Host, Podman, Wire, app, assert_within, free_port, until, web};

const PAGE: &str = "docs/guide/containers.md";
const RECIPES: &str = "docs/guide/recipes.md";

fn first(fences: &[Fence], kind: &str) -> String {
    fences.iter().find(|fence| fence.kind == kind).unwrap().text.clone()
}

/// Builds the page's image with a manifest whose ports are others, after these pairs.
fn build(podman: &Podman, image: &str, manifest: &str, ports: &[(&str, u16)]) {
    let context = podman.context();
    let manifest =
        ports.iter().fold(manifest.to_string(), |text, (from, to)| text.replace(from, &format!(":{to}")));
    fs::write(context.join("curfew.toml"), manifest).unwrap();
    fs::copy(HELLO_HTTP, context.join("web.wasm")).unwrap();
    fs::write(context.join("Dockerfile"), first(&fence::all(PAGE, &read(PAGE)), "dockerfile")).unwrap();
    podman.run(&["build", "-t", image, context.to_str().unwrap()]);
}

/// Podman, unless it cannot run here; its base image has the name of the page's.
fn podman() -> Option<Podman> {
    let dockerfile = first(&fence::all(PAGE, &read(PAGE)), "dockerfile");
    Podman::with_base(dockerfile.lines().find_map(|line| line.strip_prefix("FROM ")).unwrap())
}

fn local(port: u16) -> Address {
    Address::parse(&format!("http://127.0.0.1:{port}"))
}

#[track_caller]
fn wait_for_start(podman: &Podman) {
    until("the start of the app", || podman.logs("shop").contains("app started").then_some(()));
}

fn in_shell(podman: &Podman, folder: &Path, line: &str) -> String {
    let path = format!("{}:{}", podman.bin().display(), std::env::var("PATH").unwrap());
    let mut bash = Command::new("bash");
    let output = bash.args(["-euc", line]).current_dir(folder).env("PATH", path).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{line}\n{}\n{}", said[0], said[1]);
    said[0].clone()
}

#[test]
fn the_commands_of_the_page_work() {
    let Some(podman) = podman() else { return };
    let fences = fence::all(PAGE, &read(PAGE));
    let port = free_port();
    build(&podman, "shop", &first(&fences, "toml"), &[(":8080", port)]);
    let mut printed = String::new();
    for line in first(&fences, "sh").lines() {
        let line = line.replace("-p 8080:8080", "--network host");
        printed += &in_shell(&podman, &podman.context(), &line);
        if line.starts_with("docker run") {
            wait_for_start(&podman);
            assert_eq!(Wire::connect(&local(port)).get("/").expect(200).text(), "Hello");
            podman.run(&["healthcheck", "run", "shop"]);
            let user = "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}}";
            assert_eq!(podman.run(&["inspect", "--format", user, "shop"]).trim(), "65532 true");
        }
        if line.starts_with("docker logs") {
            let said = podman.logs("shop");
            assert!(said.contains("WARN  status") && !said.contains("compile cache"), "{said}");
        }
    }
    assert!(printed.contains("running, ready") && printed.contains("process 1,"), "{printed}");
    assert!(printed.contains(&first(&fences, "text")), "{printed}");
}

/// The values of a key of the recipe, as far as they stand on its line.
fn values<'a>(yaml: &'a str, key: &str) -> Vec<&'a str> {
    let key = format!("{key}: ");
    let found = yaml.lines().filter_map(|line| Some(line.split_once(&key)?.1));
    found.map(|rest| rest.split([',', '}']).next().unwrap().trim()).collect()
}

/// The answer to a probe of this name.
fn probe(yaml: &str, name: &str, port: u16) -> u16 {
    let (_, rest) = yaml.split_once(&format!("{name}:")).unwrap();
    assert_eq!(values(rest, "port")[0], "admin");
    Wire::connect(&local(port)).get(values(rest, "path")[0]).status
}

#[test]
fn the_commands_of_the_kubernetes_recipe_work() {
    let Some(podman) = podman() else { return };
    let fences = fence::all(RECIPES, &read(RECIPES));
    let at = fences.iter().position(|fence| fence.kind == "yaml").unwrap();
    let (manifest, yaml) = (&fences[at - 1].text, &fences[at].text);
    let (port, admin) = (free_port(), free_port());
    build(&podman, "shop", manifest, &[(":8080", port), (":9900", admin)]);
    let command = yaml.lines().find_map(|line| line.split_once("command: ")).unwrap().1;
    let command: Vec<String> = serde_json::from_str(command).unwrap();
    let mut run = vec!["run", "--detach", "--name", "shop", "--network", "host"];
    if yaml.contains("readOnlyRootFilesystem: true") {
        run.push("--read-only");
    }
    for path in values(yaml, "mountPath") {
        run.extend(["--tmpfs", path]);
    }
    run.extend(["--entrypoint", command[0].as_str(), "shop"]);
    run.extend(command[1..].iter().map(String::as_str));
    podman.run(&[&run[..], &["--log-level", "debug"]].concat());
    wait_for_start(&podman);
    assert!(!podman.logs("shop").contains("compiling"), "the image has no cache: {}", podman.logs("shop"));
    for name in ["startupProbe", "readinessProbe", "livenessProbe"] {
        assert_eq!(probe(yaml, name, admin), 200, "{name}");
    }
    let kubectl =
        fences[at..].iter().find_map(|fence| fence.text.strip_prefix("kubectl exec deploy/shop -- "));
    podman.run(&[&["exec", "shop"][..], &kubectl.unwrap().split_whitespace().collect::<Vec<_>>()].concat());
    stops_in_its_time(&podman, yaml, port, admin);
}

/// The kubelet's TERM: the pod is not ready, is alive and serves until it is out of the endpoints.
fn stops_in_its_time(podman: &Podman, yaml: &str, port: u16, admin: u16) {
    let period = values(yaml, "terminationGracePeriodSeconds")[0];
    std::thread::scope(|scope| {
        let asked = Instant::now();
        let stop = scope.spawn(|| podman.run(&["stop", "--time", period, "shop"]));
        until("the end of readiness", || (probe(yaml, "readinessProbe", admin) == 503).then_some(()));
        assert_eq!(probe(yaml, "livenessProbe", admin), 200);
        Wire::connect(&local(port)).get("/").expect(200);
        stop.join().unwrap();
        assert_within(asked.elapsed(), Duration::from_secs(6), "the stop of an idle pod after its delay");
    });
    assert_eq!(podman.run(&["inspect", "--format", "{{.State.ExitCode}}", "shop"]).trim(), "0");
}

/// Docker kills a container that takes longer than it was told.
#[test]
fn a_container_has_the_time_that_its_manifest_takes() {
    let fences = fence::all(PAGE, &read(PAGE));
    let manifest: toml::Table = first(&fences, "toml").parse().unwrap();
    let app = |key: &str| seconds(manifest["app"][key].as_str().unwrap());
    let needed = app("grace") + app("drain-delay") + 1;
    let run = first(&fences, "sh");
    let flag = run.split_once("--stop-timeout ").unwrap().1.split_whitespace().next().unwrap();
    let compose = first(&fences, "yaml");
    for given in [flag, values(&compose, "stop_grace_period")[0]] {
        assert!(seconds(given) > needed, "{given} for {needed} s");
    }
}

/// The numbers of a row of the page's table, in the order of its columns.
fn numbers(page: &str, row: &str) -> Vec<usize> {
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("| {row} | "))).unwrap();
    line.split(" | ").filter_map(|cell| cell.split([' ', ',']).next()?.parse().ok()).collect()
}

#[test]
fn an_app_takes_no_more_than_the_table_says() {
    let page = read(PAGE);
    let (own, each, connection) =
        (numbers(&page, "the app"), numbers(&page, "each instance"), numbers(&page, "each connection"));
    let manifest = app("admin = \"127.0.0.1:0\"\ncontrol = \"control.sock\"")
        + &web("lab", HTTP_LAB_CLASSIC, "instances = { max = 8 }");
    let app = Host::manifest(&manifest).start_ready();
    let address = app.address("lab");
    let mut wires: Vec<Wire> = (0..8).map(|_| Wire::connect(&address)).collect();
    wires.iter_mut().for_each(Wire::hold);
    let busy = app.wait_for_logs("instance started", "lab", 8).len();
    let bound = |column: usize| own[column] + busy * (each[column] + connection[column]);
    assert!(app.threads() <= bound(0), "{} threads, not {}", app.threads(), bound(0));
    assert!(app.descriptors() <= bound(1), "{} descriptors, not {}", app.descriptors(), bound(1));
    wires.iter_mut().for_each(Wire::release);
    drop(wires);
    app.stop().expect_code(0);
}
