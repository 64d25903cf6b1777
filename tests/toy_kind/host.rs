//! A `curfew` with one kind more: `tick`, whose component has a function that the host calls every second. The whole kind is
//! this file: all that a new kind has to be.

use std::time::Duration;

use curfew_cli::main_with;
use curfew_host::plan::{HookTiming, OnEnd};
use curfew_host::runtime::{ExportSpec, Hearing, Kind, Loaded, State, Words};
use curfew_host::server::guest::{Accessor, Func, Instance, Result, Store};
use curfew_host::server::{KindSet, KindWork, Lifecycle, SingleWork, built_in};

const PERIOD: Duration = Duration::from_secs(1);

static TICK: Kind = Kind {
    name: "tick",
    handles: "toy:clock/tick",
    exports: &[ExportSpec {
        interface: "toy:clock/tick",
        function: "tick",
        generations: &[1],
        fits: |func| func.params().len() == 0 && func.results().len() == 0,
        form: "`tick` has to be `func()`",
    }],
    is_program: false,
    is_pooled: false,
    shares_addresses: true,
    has_default_address: false,
    hook: HookTiming::AfterDrain,
    concurrency: 1,
    fresh_instances: false,
    on_failure: OnEnd::StopApp,
    check_export: |_, _| Ok(()),
    check_plan: |_| Ok(()),
    delivery: |hearing: Hearing| match hearing.hook {
        Some(_) => "the hook is called when the last tick has returned",
        None => "there is no hook: it ends when the last tick has returned",
    },
    words: Words {
        export: "tick",
        in_flight: "ticks",
        behind: "work behind ticks",
        in_flight_subject: "its `tick`",
        behind_subject: "work behind its `tick`",
        not_started: "its first tick was not called",
        ready: "when its first tick is called",
    },
};

static KINDS: [&Kind; 1] = [&TICK];

#[derive(Default)]
struct Ticking;

impl KindWork for Ticking {
    type Export = Func;

    const FRAMES: &'static str = "toy:clock/tick@";

    fn export(&self, store: &mut Store<State>, instance: &Instance, loaded: &Loaded) -> Result<Func> {
        loaded.called(store, instance)
    }

    async fn work(&self, accessor: &Accessor<State>, tick: Func, life: &Lifecycle<'_>) -> Result<()> {
        while !life.is_asked() {
            tick.call_concurrent(accessor, &[], &mut []).await?;
            tokio::select! {
                () = life.asked() => {}
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
        life.returned();
        life.call_hook(accessor).await
    }
}

impl SingleWork for Ticking {}

fn main() {
    let mut kinds = built_in();
    kinds.push(KindSet::single::<Ticking>(&KINDS));
    main_with(kinds)
}
