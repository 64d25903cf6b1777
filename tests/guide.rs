//! The README and the guide in `docs/guide/`: each command and each manifest in them is tried, each piece of code is
//! where they say it is, each link leads somewhere.
//!
//! A fence says by its kind what is done with it; one of a kind that is not known here is a failure. A comment above
//! a fence says more: `<!-- from FILE -->` for an excerpt, `<!-- output -->` for what the commands before it print.

mod containers;
mod fence;
mod generated;
mod links;
mod world;

use std::fs;
use std::path::{Path, PathBuf};

use self::fence::Fence;
use self::world::World;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The pages, by their paths in the repository.
fn pages() -> Vec<String> {
    let guide = fs::read_dir(root("docs/guide")).unwrap().flatten();
    let guide = guide.map(|entry| format!("docs/guide/{}", entry.file_name().to_str().unwrap()));
    let mut pages: Vec<String> = guide.filter(|path| path.ends_with(".md")).collect();
    pages.push("README.md".to_string());
    pages.sort();
    pages
}

fn root(path: &str) -> PathBuf {
    Path::new(ROOT).join(path)
}

fn read(page: &str) -> String {
    fs::read_to_string(root(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

#[test]
fn every_command_and_every_manifest_works() {
    crate::in_parallel(2, pages(), |page| {
        let text = read(&page);
        let mut world = World::new(&page, &text);
        for fence in fence::all(&page, &text) {
            try_fence(&mut world, &fence);
        }
    });
}

fn try_fence(world: &mut World, fence: &Fence) {
    match (fence.kind.as_str(), fence.marker.as_deref()) {
        ("rust" | "js" | "python" | "c" | "go" | "wit", Some(_)) => fence.expect_excerpt(),
        // The forms of a hook: not a whole world.
        ("wit", None) => {}
        ("toml", None) => world.check_manifest(fence),
        ("sh", None) => world.run(fence),
        ("text", Some("output")) => world.expect_output(fence),
        // What a person sees; it has times in it.
        ("text", None) => {}
        ("json", None) => drop(serde_json::from_str::<serde_json::Value>(&fence.text).unwrap()),
        ("yaml", None) => fence.expect_yaml(),
        // `containers` builds the image.
        ("dockerfile", None) => {}
        // Units of systemd, which does not run here; tests/systemd.rs speaks its protocol.
        ("ini", None) => {}
        (kind, marker) => panic!("{fence}: what is a fence of kind {kind:?} with {marker:?}?"),
    }
}

fn seconds(text: &str) -> u64 {
    text.trim().trim_matches('"').trim_end_matches('s').parse().unwrap()
}

/// Kubernetes kills a pod that takes longer than it was told: the numbers of the recipe go together.
#[test]
fn the_pod_has_the_time_that_its_manifest_takes() {
    let page = "docs/guide/recipes.md";
    let fences = fence::all(page, &read(page));
    let at = fences.iter().position(|fence| fence.kind == "yaml").unwrap();
    let manifest: toml::Table = fences[at - 1].text.parse().unwrap();
    let app = |key: &str| seconds(manifest["app"][key].as_str().unwrap());
    let period = fences[at].text.lines().find_map(|line| line.split("terminationGracePeriodSeconds:").nth(1));
    assert!(seconds(period.unwrap()) > app("grace") + app("drain-delay") + 1);
    for port in ["9900", "8080"] {
        assert!(fences[at].text.contains(&format!("containerPort: {port}")), "{port}");
        assert!(fences[at - 1].text.contains(&format!("0.0.0.0:{port}")), "{port}");
    }
}
