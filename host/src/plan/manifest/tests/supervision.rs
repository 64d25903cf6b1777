//! Keys about order, restarts, readiness and health: their plan, and the exact message for each mistake.

use super::*;

const LISTEN: &str = "listen = [\"127.0.0.1:8080\"]\n";
const ON_FAILURE: &str = "on-failure = \"restart\"\n";

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn every_key_of_supervision_reaches_the_plan() {
    let plan = plan(FULL).unwrap();
    let [web, a] = plan.components.as_slice() else { panic!("two components") };
    assert_eq!((web.after.as_slice(), a.after.len()), (["a".to_owned()].as_slice(), 0));
    let restart = RestartPlan { max: Some(3), within: secs(120), backoff: [secs(1), secs(9)] };
    assert_eq!(
        (web.restart, a.restart),
        (restart, RestartPlan { within: secs(60), ..RestartPlan::default() })
    );
    assert_eq!((web.ready, a.ready), (Some(ReadyWhen::Said), None));
    let path = Some("/healthz?deep=1".to_owned());
    let health = HealthPlan { path, every: secs(4), timeout: secs(1), failures: 2 };
    assert_eq!((web.health.as_ref(), a.health.as_ref()), (Some(&health), None));
    assert_eq!((web.overlap, a.overlap), (false, true));
}

#[test]
fn supervision_has_the_documented_defaults() {
    let one = |keys: &str| plan(&format!("{WEB}{keys}")).unwrap().components.remove(0);
    let health = HealthPlan { path: None, every: secs(10), timeout: secs(10), failures: 3 };
    assert_eq!(one("health = {}\n").health, Some(health));
    let health = HealthPlan { path: Some("/".into()), every: secs(2), timeout: secs(2), failures: 3 };
    assert_eq!(one(&format!("{LISTEN}health = {{ path = \"/\", every = \"2s\" }}\n")).health, Some(health));
    assert_eq!(one("ready = \"started\"\n").ready, Some(ReadyWhen::Started));
    assert_eq!(one(LISTEN).on_failure, None);
    assert_eq!(one("on-exit = \"restart\"\n").on_exit, OnEnd::Restart);
    let written =
        RestartPlan { max: None, within: secs(60), backoff: [Duration::from_millis(200), secs(30)] };
    assert_eq!(one(&format!("{ON_FAILURE}restart = {{}}\n")).restart, written);
    let limited = RestartPlan { max: Some(RestartPlan::DEFAULT_MAX), ..written };
    assert_eq!(one(&format!("{ON_FAILURE}restart = {{ within = \"1m\" }}\n")).restart, limited);
}

#[test]
fn a_period_that_is_not_given_lets_the_budget_be_spent() {
    let one = |keys: &str| plan(&format!("{WEB}{ON_FAILURE}{keys}")).unwrap().components[0].restart;
    // 20 × 5s, and pauses of 0.75 × (0.2 + 0.4 + … + 25.6 + 12 × 30) s.
    let restart = one("restart = { max = 20 }\n");
    assert_eq!(restart.within, 2 * (secs(100) + Duration::from_millis(308_250)));
    // The grace of its own is shorter than the app's after a failure.
    let restart = one("grace = \"0s\"\nrestart = { max = 20, backoff = [\"0s\", \"1s\"] }\n");
    assert_eq!(restart.within, secs(60));
    let restart = one("[app]\nfail-grace = \"1m\"\n");
    assert_eq!(restart.within, 2 * Duration::from_millis(304_650));
    assert_eq!(one("restart = { max = 9000000000000, within = \"8760h\", backoff = [\"0s\", \"0s\"] }\ngrace = \"0s\"\n").max, Some(u32::MAX));
}

#[test]
fn a_longer_grace_on_the_command_line_makes_periods_longer() {
    let text = format!("{WEB}{ON_FAILURE}restart = {{ within = \"40s\" }}\n");
    let mut plan = plan(&text).unwrap();
    let mut within = |fail_grace: Option<Duration>| {
        plan.apply(super::super::super::Overrides { fail_grace, ..Default::default() });
        plan.components[0].restart.within
    };
    assert_eq!((within(None), within(Some(secs(7)))), (secs(40), secs(40)));
    assert_eq!(within(Some(secs(8))), 2 * Duration::from_millis(44_650));
}

#[test]
fn restarts_that_make_no_sense_are_refused() {
    let none = "`restart` has no effect: neither `on-exit` nor `on-failure` is \"restart\" (add `on-failure = \
                \"restart\"` or `on-exit = \"restart\"`)";
    refused_in_component(&[
        (
            "restart = { backoff = [\"2s\", \"1s\"] }\n",
            "3:23: `restart.backoff` is the first pause and the longest; the first is the longer one here",
        ),
        ("restart = { max = 3 }\n", &format!("3:1: {none}")),
        ("on-exit = \"ignore\"\nrestart = {}\n", &format!("4:1: {none}")),
        (&format!("{LISTEN}on-failure = \"stop-app\"\nrestart = {{}}\n"), &format!("5:1: {none}")),
        (
            "restart = {}\non-failure = \"restrat\"\n",
            "4:14: `on-failure` takes \"stop-app\", \"ignore\" or \"restart\", found \"restrat\" (did you mean \
             \"restart\"?)",
        ),
        ("restart = { max = -1 }\n", "3:19: `restart.max` takes a whole number from 0 on, found -1"),
    ]);
    for good in [format!("{LISTEN}restart = {{ max = 0 }}\n"), "on-exit = \"restart\"\nrestart = {}\n".into()]
    {
        assert!(plan(&format!("{WEB}{good}")).is_ok(), "{good}");
    }
}

/// R10
#[test]
fn a_budget_that_could_never_be_spent_is_refused() {
    let hint = |key: &str, needed: &str| {
        format!("(make `within` longer than {needed}, or `max`, `backoff` or `{key}` smaller)")
    };
    refused_in_component(&[
        (
            &format!("{ON_FAILURE}restart = {{ within = \"20s\" }}\n"),
            &format!(
                "4:22: this budget might never be spent: 5 restarts can take 29.65s (5 × fail-grace of 5s, and pauses of \
                 4.65s at least), and `restart.within` is 20s {}",
                hint("fail-grace", "29.65s")
            ),
        ),
        (
            &format!(
                "{LISTEN}grace = \"3s\"\nrestart = {{ max = 10, within = \"30s\", backoff = [\"0s\", \"0s\"] }}\n"
            ),
            &format!(
                "5:32: this budget might never be spent: 10 restarts can take 30s (10 × grace of 3s, and pauses of 0s \
                 at least), and `restart.within` is 30s {}",
                hint("grace", "30s")
            ),
        ),
        (
            &format!("{ON_FAILURE}restart = {{ within = \"1m\" }}\n[app]\nfail-grace = \"30s\"\n"),
            &format!(
                "4:22: this budget might never be spent: 5 restarts can take 154.65s (5 × fail-grace of 30s, and pauses \
                 of 4.65s at least), and `restart.within` is 1m {}",
                hint("fail-grace", "154.65s")
            ),
        ),
        // The grace is not known.
        (
            &format!("{ON_FAILURE}restart = {{ within = \"1s\" }}\ngrace = 1\n"),
            "5:9: `grace` takes a duration such as \"10s\", found an integer (did you mean \"1s\"?)",
        ),
    ]);
    let spent = format!("{WEB}{ON_FAILURE}restart = {{ within = \"29651ms\" }}\n");
    assert!(plan(&spent).is_ok());
}

#[test]
fn health_depends_on_who_listens() {
    let service = "(a service calls `alive` of `curfew:lifecycle/host`; kind `http` has `listen`)";
    let path = "3:19: `health.path` takes a path such as \"/healthz\", found";
    refused_in_component(&[
        (
            &format!("{LISTEN}health = {{}}\n"),
            "4:1: `health` has no `path`, which it needs with `listen` (add `path = \"/healthz\"`: an answer below 500 \
             is good)",
        ),
        (
            "health = { path = \"/\" }\n",
            &format!("3:12: `health.path` needs `listen`, which is missing {service}"),
        ),
        (
            "health = { every = \"1s\", timeout = \"1s\" }\n",
            &format!("3:26: `health.timeout` needs `listen`, which is missing {service}"),
        ),
        ("health = { path = \"\" }\n", &format!("{path} \"\": it is empty (did you mean \"/\"?)")),
        (
            "health = { path = \"up\" }\n",
            &format!("{path} \"up\": it does not begin with `/` (did you mean \"/up\"?)"),
        ),
        (
            "health = { path = \"http://a/up\" }\n",
            &format!("{path} \"http://a/up\": it is a URL, not a path (did you mean \"/up\"?)"),
        ),
        (
            "health = { path = \"/up#now\" }\n",
            &format!("{path} \"/up#now\": a fragment never reaches a server (did you mean \"/up\"?)"),
        ),
        (
            "health = { path = \"/a b\" }\n",
            &format!("{path} \"/a b\": other characters than those of a URL are written as `%20`"),
        ),
        ("health = { failures = 0 }\n", "3:23: `health.failures` takes a whole number from 1 on, found 0"),
        (
            "health = { every = \"0s\" }\n",
            "3:20: `health.every` takes a duration such as \"10s\", found \"0s\": it must be above 0",
        ),
        ("ready = true\n", "3:9: `ready` takes \"started\" or \"said\", found `true`"),
    ]);
}

#[test]
fn only_services_can_choose_whether_they_overlap() {
    refused_in_component(&[
        (
            &format!("{LISTEN}overlap = true\n"),
            "4:1: `overlap` is for services: what has `listen` always overlaps on a reload (leave it out)",
        ),
        ("overlap = \"yes\"\n", "3:11: `overlap` takes true or false, found \"yes\" (did you mean true?)"),
    ]);
    assert!(plan(&format!("{WEB}{LISTEN}overlap = false\n")).is_ok());
}
