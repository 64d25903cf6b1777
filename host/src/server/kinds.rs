//! The kinds that are built in.

use super::http::kind::HTTP;
use super::ingress::ingress::Ingress;
use super::servers::KindSet;
use super::service::kind::SERVICE;
use super::service::run_loop::RunLoop;
use super::tcp::kind::TCP;
use crate::runtime::Kind;

static SERVICES: [&Kind; 1] = [&SERVICE];
static LISTENED: [&Kind; 2] = [&HTTP, &TCP];

/// Returns the kinds that are built in, each with its server.
pub fn built_in() -> Vec<KindSet> {
    let listened = KindSet { kinds: &LISTENED, make: |parts| Box::new(Ingress::new(parts)) };
    vec![KindSet::single::<RunLoop>(&SERVICES), listened]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::schema::{Fallback, ManifestKey, Shape};
    use crate::plan::{Bare, OnEnd, Plan, keys};
    use crate::runtime::{Runtime, RuntimeOptions, load_one};

    #[test]
    fn guests_import_what_they_call_and_nothing_else() {
        let kinds = built_in().iter().flat_map(|set| set.kinds).copied().collect();
        let options = RuntimeOptions { cache: None, interruptible: true, kinds };
        let runtime = Runtime::new(options).unwrap();
        for (guest, says_ready, says_alive) in [
            (artifacts::SUBSCRIBER, true, false),
            (artifacts::TCP_ECHO, true, false),
            (artifacts::SERVER_CLASSIC, true, false),
            (artifacts::EVENTS, false, false),
            (artifacts::HELLO_HTTP, false, false),
            (artifacts::HELLO_HTTP_CLASSIC, false, false),
            (artifacts::NO_HOOK, false, false),
            (artifacts::SERVICE_LAB, true, true),
        ] {
            let plan = Plan::from_files(&[guest.into()], &Bare::default()).unwrap().components.remove(0);
            let loaded = load_one(&runtime, &plan).unwrap();
            assert_eq!((loaded.says.ready, loaded.says.alive), (says_ready, says_alive), "{guest}");
        }
    }

    fn default_in_words(table: &[ManifestKey], name: &str) -> &'static str {
        let key = table.iter().find(|key| key.name == name).unwrap();
        let Fallback::Depends(words) = (key.fallback)() else {
            panic!("{name} has one default for all kinds")
        };
        words
    }

    /// A key's documentation cannot be made of the kinds, which its layer does not know.
    #[test]
    fn the_words_for_defaults_fit_the_kinds() {
        let on_failure = default_in_words(keys::COMPONENT, "on-failure");
        let instances = keys::COMPONENT.iter().find(|key| key.name == "instances").unwrap();
        let Shape::Table(instances) = instances.shape else { panic!("`instances` is no table") };
        let concurrency = default_in_words(instances, "concurrency");
        for kind in built_in().iter().flat_map(|set| set.kinds) {
            let restarts = on_failure.contains(&format!("`{}`", kind.name));
            assert_eq!(restarts, kind.on_failure == OnEnd::Restart, "{}: {on_failure}", kind.name);
            let said = concurrency.contains(&kind.concurrency.to_string());
            assert!(said || !kind.is_pooled, "{}: {concurrency}", kind.name);
        }
    }
}
