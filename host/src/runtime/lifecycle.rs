//! Our own package, `curfew:lifecycle`, in its two versions: it passes calls of a component on to the instance's `Link`.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::Result;
use wasmtime::component::{Accessor, HasSelf, Linker, Resource};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi::{WasiView, async_trait};

use super::orders::nanos;
use super::{Link, Notice, NoticeCause, State};
use v0_2::curfew::lifecycle::types::{Cause, Notice as TheNotice};

mod v0_2 {
    wasmtime::component::bindgen!({
        path: "../wit/0.2",
        world: "curfew:lifecycle/guest",
        imports: {
            "curfew:lifecycle/host.extend-grace": async | trappable,
            default: trappable,
        },
        with: { "wasi:io": wasmtime_wasi::p2::bindings::io },
    });
}

mod v0_3 {
    wasmtime::component::bindgen!({
        path: "../wit/0.3",
        world: "curfew:lifecycle/guest",
        imports: {
            "curfew:lifecycle/host.extend-grace": async | trappable,
            default: trappable,
        },
        // The types are the same in both versions.
        with: { "curfew:lifecycle/types": super::v0_2::curfew::lifecycle::types },
    });
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> Result<()> {
    v0_2::curfew::lifecycle::host::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    v0_3::curfew::lifecycle::host::add_to_linker::<State, HasSelf<State>>(linker, |state| state)
}

/// Ready once the instance is asked to stop.
struct StopPollable(Arc<Link>);

#[async_trait]
impl Pollable for StopPollable {
    async fn ready(&mut self) {
        self.0.orders.asked().await;
    }
}

impl From<Notice> for TheNotice {
    fn from(notice: Notice) -> Self {
        let cause = match notice.cause {
            NoticeCause::Signal(name) => Cause::Signal(name),
            NoticeCause::Failure(name) => Cause::Failure(name),
            NoticeCause::Finished(name) => Cause::Finished(name),
            NoticeCause::Reload => Cause::Reload,
            NoticeCause::Request(name) => Cause::Request(name),
        };
        Self { cause, grace: nanos(notice.grace) }
    }
}

/// The functions that are the same in both versions.
macro_rules! shared_functions {
    () => {
        fn stop_notice(&mut self) -> Result<Option<TheNotice>> {
            Ok(self.link.orders.notice().map(TheNotice::from))
        }

        fn remaining(&mut self) -> Result<Option<u64>> {
            Ok(self.link.orders.remaining().map(nanos))
        }

        fn ready(&mut self) -> Result<()> {
            self.link.set_ready();
            Ok(())
        }

        fn alive(&mut self) -> Result<()> {
            self.link.set_alive();
            Ok(())
        }

        fn set_status(&mut self, line: String) -> Result<()> {
            self.link.vitals.set_status(&line);
            Ok(())
        }

        async fn extend_grace(&mut self, by: u64) -> Result<u64> {
            Ok(nanos(self.link.extend(Duration::from_nanos(by)).await))
        }

        fn request_stop(&mut self) -> Result<()> {
            self.link.request_stop();
            Ok(())
        }
    };
}

mod host_0_2 {
    use super::v0_2::curfew::lifecycle::host::Host;
    use super::*;

    impl Host for State {
        fn subscribe_stop(&mut self) -> Result<Resource<DynPollable>> {
            let table = self.wasi.ctx().table;
            let waits = table.push(StopPollable(self.link.clone()))?;
            subscribe(table, waits)
        }

        shared_functions!();
    }
}

mod host_0_3 {
    use super::v0_3::curfew::lifecycle::host::{Host, HostWithStore};
    use super::*;

    impl HostWithStore<State> for HasSelf<State> {
        async fn stop_requested(accessor: &Accessor<State, Self>) -> Result<TheNotice> {
            let link = accessor.with(|mut access| access.get().link.clone());
            Ok(link.orders.asked().await.into())
        }
    }

    impl Host for State {
        shared_functions!();
    }
}
