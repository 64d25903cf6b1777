//! The memory that the container around this process has, against the memory that the components may take.

use std::path::Path;

use super::Loaded;
use crate::plan::{AppPlan, ComponentPlan};

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
