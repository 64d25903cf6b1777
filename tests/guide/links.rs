//! Links: each names a file that is there, and a heading that is in it.

use std::path::Path;

use super::{pages, read, root};

/// What stands in the parentheses of `[…](…)`, with the fences left out.
fn links(text: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            inside = !inside;
        }
        if inside {
            continue;
        }
        let targets = line.match_indices("](").filter_map(|(at, _)| line[at + 2..].split(')').next());
        found.extend(targets.map(str::to_string));
    }
    found
}

/// A heading as a link names it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn every_link_leads_somewhere() {
    let mut count = 0;
    for page in pages() {
        for link in links(&read(&page)).iter().filter(|link| !link.contains("://")) {
            count += 1;
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => root(&page),
                file => root(&page).parent().unwrap().join(file),
            };
            assert!(target.exists(), "{page}: {link}: there is no {}", target.display());
            if heading.is_empty() {
                continue;
            }
            let text = std::fs::read_to_string(&target).unwrap();
            let mut headings =
                text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#'));
            assert!(headings.any(|found| anchor(found.trim()) == heading), "{page}: {link}: no such heading");
        }
    }
    assert!(count > 20, "{count} links only: they are not found any more");
}

/// The table of contents has every page.
#[test]
fn every_page_is_in_the_contents() {
    let contents = links(&read("docs/guide/README.md"));
    for page in pages().iter().filter(|page| page.starts_with("docs/guide/") && !page.ends_with("README.md"))
    {
        let name = Path::new(page).file_name().unwrap().to_str().unwrap();
        assert!(contents.iter().any(|link| link == name), "{name} is not in docs/guide/README.md");
    }
    assert!(links(&read("README.md")).iter().any(|link| link.starts_with("docs/guide/")));
}
