//! The linear memories of all instances of an app together: their sum, its limit, and the limit of the container around the app.
//!
//! Invariant: what is taken is given back when its store is dropped, and with a limit the sum never grows above it.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Loaded;
use crate::plan::{AppPlan, ComponentPlan};
use crate::text::units::format_size;

/// Least time between two log lines about a full memory.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// The app has no memory left for one more instance.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the memory of the app is full (`memory` of [app])")]
pub(super) struct AppMemoryFull;

/// The sum, which all stores share.
#[derive(Debug)]
pub(crate) struct AppMemory {
    used: AtomicU64,
    most: AtomicU64,
    told: Mutex<Option<Instant>>,
}

impl Default for AppMemory {
    fn default() -> Self {
        Self { used: AtomicU64::new(0), most: AtomicU64::new(u64::MAX), told: Mutex::default() }
    }
}

impl AppMemory {
    /// Sets the limit, for all growth from now on.
    pub(crate) fn set_limit(&self, most: Option<u64>) {
        self.most.store(most.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Takes memory for a component, unless the sum would be above the limit.
    pub(super) fn take(&self, bytes: usize, component: &str) -> bool {
        let (bytes, limit) = (bytes as u64, self.most.load(Ordering::Relaxed));
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= limit);
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        if let Err(used) = taken
            && self.is_news()
        {
            let [used, limit, asked] = [used, limit, bytes].map(format_size);
            tracing::warn!(
                component,
                asked,
                used,
                limit,
                "the memory of the app is full: a component gets no more"
            );
        }
        taken.is_ok()
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    fn is_news(&self) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = told.is_none_or(|at| at.elapsed() >= TOLD_EVERY);
        if is_news {
            *told = Some(Instant::now());
        }
        is_news
    }
}

/// Returns a warning if the components may take more memory than the container has, in which case the system kills the app.
pub fn memory_warning<'a>(
    app: &AppPlan,
    components: impl Iterator<Item = (&'a ComponentPlan, &'a Loaded)>,
) -> Option<String> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let limit = container_limit(Path::new("/sys/fs/cgroup"), &groups)?;
    let most = components.map(|(plan, loaded)| {
        let instances = if loaded.kind.is_pooled { plan.resolve(&loaded.defaults).max_instances } else { 1 };
        plan.memory.saturating_mul(instances as u64)
    });
    warning(limit, app.memory, most.fold(0, u64::saturating_add))
}

fn warning(limit: u64, app: Option<u64>, components: u64) -> Option<String> {
    let most = app.unwrap_or(u64::MAX).min(components);
    let (who, keys) = match app {
        Some(app) if app == most => ("`memory` of [app] allows", "lower it"),
        _ => (
            "the limits of the components allow",
            "lower `memory` or `instances.max` of the components, or set `memory` of [app]",
        ),
    };
    (most > limit).then(|| {
        let [most, limit, room] = [most, limit, limit / 4 * 3].map(|bytes| format!("{}MiB", bytes >> 20));
        format!(
            "{who} {most} of memory, and the container has {limit}, at which the system kills the app: {keys}, for instance to \
             {room} for all"
        )
    })
}

/// Returns the memory that the control groups of this process allow. `groups` is its `/proc/self/cgroup`.
fn container_limit(root: &Path, groups: &str) -> Option<u64> {
    let limit_of = |line: &str| {
        let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
        let is_memory = controllers.split(',').any(|controller| controller == "memory");
        let (folder, file) = match controllers.is_empty() {
            true => (root.to_owned(), "memory.max"),
            false if is_memory => (root.join("memory"), "memory.limit_in_bytes"),
            false => return None,
        };
        // The groups above it count, too. In a container the path may be the machine's, and only its top is there.
        let above = Path::new(group.trim_start_matches('/')).ancestors();
        let limit_in = |group: &Path| std::fs::read_to_string(folder.join(group).join(file)).ok();
        above.filter_map(|group| limit_in(group)?.trim().parse().ok()).min()
    };
    groups.lines().filter_map(limit_of).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_above_the_limit_is_refused_until_memory_comes_back() {
        let memory = AppMemory::default();
        assert!(memory.take(1 << 30, "a"), "without a limit all is allowed");
        memory.set_limit(Some(2 << 30));
        assert!(memory.take(1 << 30, "b") && !memory.take(1, "c"));
        memory.give_back(1 << 30);
        assert!(memory.take(1 << 30, "c"));
        memory.set_limit(Some(1));
        assert!(!memory.take(1, "c"), "a lower limit holds for growth alone");
        memory.give_back(2 << 30);
        assert!(memory.take(1, "c"));
    }

    #[test]
    fn the_smallest_limit_of_the_groups_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("pod/memory.max", "1000\n");
        write("pod/app/memory.max", "max\n");
        let limit = |groups: &str| container_limit(root.path(), groups);
        assert_eq!((limit("0::/pod/app\n"), limit("0::/\n")), (Some(1000), None));
        write("memory.max", "700\n");
        assert_eq!(limit("0::/not/seen/from/here\n"), Some(700));
        write("memory/memory.limit_in_bytes", "600\n");
        assert_eq!(limit("3:pids:/\n2:cpu,memory:/docker/1\n0::/pod\n"), Some(600));
    }

    #[test]
    fn limits_that_fit_need_no_warning() {
        assert_eq!((warning(100, None, 100), warning(100, Some(99), 1000)), (None, None));
        let told = |app, components| warning(400 << 20, app, components).unwrap();
        assert!(told(None, 8 << 30).starts_with("the limits of the components allow 8192MiB of memory"));
        assert!(told(Some(1 << 30), 8 << 30).starts_with("`memory` of [app] allows 1024MiB of memory"));
        assert!(told(Some(9 << 30), 8 << 30).ends_with("for instance to 300MiB for all"));
    }
}
