//! Pages in `docs/` that tests write: `CURFEW_WRITE_DOCS=1` writes one, otherwise it must be what was seen.

use std::path::Path;

/// Compares a page, as a path below the root of the project, with what a test has seen.
#[track_caller]
pub fn expect_page(page: &str, seen: &str) {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(page);
    if std::env::var("CURFEW_WRITE_DOCS").as_deref() == Ok("1") {
        std::fs::write(&path, seen).unwrap();
        return;
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == seen, "{page} is not what was seen; CURFEW_WRITE_DOCS=1 writes it:\n{seen}");
}
