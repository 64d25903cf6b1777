//! A host that the system gives less than usual: system calls that are refused, or the children of others.

use std::os::unix::process::CommandExt;

use nix::libc;
use nix::sys::prctl::{set_child_subreaper, set_no_new_privs};

use super::Host;

/// A system call that is refused with EPERM.
#[derive(Clone, Copy, Debug)]
pub enum Refused {
    MemfdCreate,
    /// `mprotect` that asks for memory which can be executed.
    ExecutableMemory,
}

impl Host {
    /// Becomes the parent of processes whose parents have died, as process 1 does.
    #[expect(unsafe_code, reason = "std passes no such attribute")]
    pub fn adopting(mut self) -> Host {
        // SAFETY: between fork and exec it only makes a system call.
        unsafe { self.command.pre_exec(|| set_child_subreaper(true).map_err(Into::into)) };
        self
    }

    #[expect(unsafe_code, reason = "std knows no filters of system calls")]
    pub fn refused(mut self, call: Refused) -> Host {
        let mut filter = filter(call);
        // SAFETY: between fork and exec it only makes system calls; the filter is owned by the closure.
        unsafe {
            self.command.pre_exec(move || {
                set_no_new_privs()?;
                let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
                match libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            })
        };
        self
    }
}

/// The program that the kernel runs for each system call of the host.
fn filter(call: Refused) -> Vec<libc::sock_filter> {
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = |offset| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let unless = |code: u32, value: u32, skip: u8| step(libc::BPF_JMP | code | libc::BPF_K, 0, skip, value);
    let end = |action: u32| step(libc::BPF_RET | libc::BPF_K, 0, 0, action);
    let number = |call: libc::c_long| call as u32;
    // The number of the call is the first word of its description, the lower half of the third argument the ninth.
    let mut steps = match call {
        Refused::MemfdCreate => vec![load(0), unless(libc::BPF_JEQ, number(libc::SYS_memfd_create), 1)],
        Refused::ExecutableMemory => vec![
            load(0),
            unless(libc::BPF_JEQ, number(libc::SYS_mprotect), 3),
            load(32),
            unless(libc::BPF_JSET, libc::PROT_EXEC as u32, 1),
        ],
    };
    steps.push(end(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32));
    steps.push(end(libc::SECCOMP_RET_ALLOW));
    steps
}
