//! A plan without a manifest: from the files named on the command line.
//!
//! Invariant: a bare file is granted nothing: no directory, no network, no environment. What stands in a
//! manifest is read in `manifest`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::error::PlanError;
use super::names::{component_name_from, unique};
use super::types::{
    AppPlan, ComponentPlan, DEFAULT_FAIL_GRACE, DEFAULT_GRACE, DEFAULT_MEMORY, DEFAULT_START_TIMEOUT,
    NetworkGrant, OnEnd, Plan, SignalProfile,
};

impl Plan {
    /// Plans the components in `files`, named after them. A single one gets `args`, the standard input, and its
    /// streams unprefixed.
    ///
    /// # Errors
    /// [`PlanError::Usage`] for no file at all, and for arguments with several; [`PlanError::Unreadable`] for a
    /// file that is not there.
    pub fn from_files(files: &[PathBuf], args: &[String]) -> Result<Self, PlanError> {
        if files.is_empty() {
            return Err(usage("there is no file to run", "curfew run a.wasm"));
        }
        let single = files.len() == 1;
        if !single && !args.is_empty() {
            let hint = "in a manifest every component has `args` of its own";
            return Err(usage("arguments after -- need a single file", hint));
        }
        if args.iter().any(|arg| arg.contains('\0')) {
            return Err(PlanError::Usage { message: "there is a NUL in an argument", hint: None });
        }
        let mut taken = BTreeSet::new();
        let mut components = Vec::with_capacity(files.len());
        for file in files {
            check_file(file)?;
            let name = unique(&stem(file), &taken);
            taken.insert(name.clone());
            components.push(bare(name, file, single, args));
        }
        let app_name = components.first().filter(|_| single).map_or("app", |only| &only.name).to_owned();
        let app = AppPlan {
            name: app_name,
            grace: DEFAULT_GRACE,
            fail_grace: DEFAULT_FAIL_GRACE,
            drain_delay: std::time::Duration::ZERO,
            signals: SignalProfile::default(),
        };
        Ok(Self { app, components, manifest: None, passthrough: single })
    }
}

const fn usage(message: &'static str, hint: &'static str) -> PlanError {
    PlanError::Usage { message, hint: Some(hint) }
}

fn stem(file: &Path) -> String {
    component_name_from(&file.file_stem().unwrap_or_default().to_string_lossy())
}

fn check_file(file: &Path) -> Result<(), PlanError> {
    let cause = match std::fs::metadata(file) {
        Ok(found) if found.is_dir() => std::io::Error::from(std::io::ErrorKind::IsADirectory),
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    Err(PlanError::Unreadable { path: file.to_owned(), cause, hint: None })
}

fn bare(name: String, source: &Path, stdin: bool, args: &[String]) -> ComponentPlan {
    ComponentPlan {
        name,
        source: source.to_owned(),
        grace: None,
        hook: None,
        on_exit: OnEnd::default(),
        on_failure: OnEnd::default(),
        start_timeout: DEFAULT_START_TIMEOUT,
        memory: DEFAULT_MEMORY,
        stdin,
        args: args.to_vec(),
        env: Default::default(),
        dirs: Vec::new(),
        network: NetworkGrant::default(),
        config: Default::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::PlanErrorKind;
    use super::*;

    fn files(names: &[&str]) -> (tempfile::TempDir, Vec<PathBuf>) {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = names.iter().map(|name| dir.path().join(name)).collect();
        for path in &paths {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        (dir, paths)
    }

    #[test]
    fn a_single_file_passes_through() {
        let (_dir, files) = files(&["My App.wasm"]);
        let plan = Plan::from_files(&files, &["-v".to_owned()]).unwrap();
        let [only] = plan.components.as_slice() else { panic!("one component") };
        assert!(plan.passthrough && only.stdin && plan.manifest.is_none());
        assert_eq!((plan.app.name.as_str(), only.name.as_str()), ("my-app", "my-app"));
        assert_eq!((only.args.as_slice(), &only.source), (["-v".to_owned()].as_slice(), &files[0]));
        assert!(only.env.is_empty() && only.dirs.is_empty() && only.network == NetworkGrant::default());
        assert_eq!((only.grace, only.memory), (None, DEFAULT_MEMORY));
    }

    #[test]
    fn several_files_have_unique_names() {
        let (_dir, files) = files(&["a/web.wasm", "b/web.wasm", "Web.cwasm", "q.wasm"]);
        let plan = Plan::from_files(&files, &[]).unwrap();
        let names: Vec<&str> = plan.components.iter().map(|component| component.name.as_str()).collect();
        assert_eq!(names, ["web", "web-2", "web-3", "q"]);
        assert_eq!(plan.app.name, "app");
        assert!(!plan.passthrough && plan.components.iter().all(|component| !component.stdin));
    }

    #[test]
    fn wrong_command_lines_are_refused() {
        let (dir, files) = files(&["a.wasm", "b.wasm"]);
        let error = Plan::from_files(&files, &["x".to_owned()]).unwrap_err();
        assert_eq!(error.kind(), PlanErrorKind::Usage);
        let expected = "arguments after -- need a single file\n\
                        hint: in a manifest every component has `args` of its own";
        assert_eq!(error.to_string(), expected);
        assert_eq!(Plan::from_files(&[], &[]).unwrap_err().kind(), PlanErrorKind::Usage);
        let missing = Plan::from_files(&[PathBuf::from("none.wasm")], &[]).unwrap_err();
        assert_eq!(missing.kind(), PlanErrorKind::Unreadable);
        assert_eq!(missing.to_string(), "cannot read none.wasm: No such file or directory (os error 2)");
        let folder = Plan::from_files(&[dir.path().to_owned()], &[]).unwrap_err();
        assert_eq!(folder.to_string(), format!("cannot read {}: is a directory", dir.path().display()));
    }
}
