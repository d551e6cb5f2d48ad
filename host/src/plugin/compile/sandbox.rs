//! What the compile child gives up before it reads a byte of the file: descriptors, memory and time past
//! its limits, files, network, and nearly all system calls. The kernel may lack landlock or seccomp: what
//! could not be had is told to the host, which tells people.

use std::collections::BTreeMap;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetStatus,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// What holds the child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Enforced {
    pub limits: bool,
    pub no_new_privs: bool,
    pub landlock: bool,
    pub seccomp: bool,
}

impl Enforced {
    /// For the pipe.
    pub fn bits(self) -> u8 {
        u8::from(self.limits)
            | u8::from(self.no_new_privs) << 1
            | u8::from(self.landlock) << 2
            | u8::from(self.seccomp) << 3
    }

    pub fn from_bits(bits: u8) -> Enforced {
        Enforced {
            limits: bits & 1 != 0,
            no_new_privs: bits & 2 != 0,
            landlock: bits & 4 != 0,
            seccomp: bits & 8 != 0,
        }
    }

    /// Names of what is not.
    pub fn missing(self) -> Vec<&'static str> {
        [
            (self.limits, "limits"),
            (self.no_new_privs, "no-new-privs"),
            (self.landlock, "landlock"),
            (self.seccomp, "seccomp"),
        ]
        .into_iter()
        .filter_map(|(there, name)| (!there).then_some(name))
        .collect()
    }
}

/// What this kernel has, asked without giving anything up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Support {
    /// Rules on files and network for a process.
    pub landlock: bool,
    /// Filters of system calls.
    pub seccomp: bool,
}

/// Asks the kernel.
pub fn support() -> Support {
    let landlock = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(Ruleset::create)
        .is_ok();
    Support {
        landlock,
        seccomp: rustix::thread::secure_computing_mode().is_ok(),
    }
}

/// Closes all descriptors but the three pipes. Rust opens its own with close-on-exec; libraries in the
/// host may not.
pub fn close_descriptors() {
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2)
        .collect();
    for fd in open {
        // The list has the descriptor that read it, closed by now: closing it again fails, and no thread could
        // have opened another meanwhile.
        // SAFETY: this process has just begun, one thread, and owns no descriptor but the three standard ones.
        unsafe { rustix::io::close(fd) }
    }
}

/// Gives everything up, the strictest last.
pub fn enter(memory_bytes: u64, cpu_s: u64) -> Enforced {
    let mut enforced = Enforced::default();
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let limit = |resource, soft: u64, hard: u64| {
        setrlimit(
            resource,
            Rlimit {
                current: Some(soft),
                maximum: Some(hard),
            },
        )
        .is_ok()
    };
    enforced.limits = limit(Resource::Core, 0, 0)
        & limit(Resource::Fsize, 0, 0)
        & limit(Resource::Nofile, 64, 64)
        & limit(Resource::As, memory_bytes, memory_bytes)
        // The soft limit's signal names the cause; the hard one is for who would ignore it.
        & limit(Resource::Cpu, cpu_s, cpu_s + 1);
    heed(libc::SIGXCPU);
    enforced.no_new_privs = rustix::thread::set_no_new_privs(true).is_ok();
    enforced.landlock = restrict_files().unwrap_or(false);
    enforced.seccomp = filter_calls().is_ok();
    enforced
}

/// Lets a signal end this process, though who started the host may have told all to ignore it.
fn heed(signal: libc::c_int) {
    // SAFETY: the default action is no handler: nothing of ours runs in one.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// No file, no folder, no TCP port: an empty set of rules, as far as the kernel knows them.
fn restrict_files() -> Result<bool, landlock::RulesetError> {
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V5))?
        .handle_access(AccessNet::from_all(ABI::V5))?
        .create()?
        .restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

/// Memory, threads, the three pipes, and the end. Anything else is answered with "not permitted", which
/// the libraries take as "not there".
fn filter_calls() -> Result<(), Box<dyn std::error::Error>> {
    let mut allowed = vec![
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_close,
        libc::SYS_mmap,
        libc::SYS_munmap,
        libc::SYS_mprotect,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_brk,
        libc::SYS_futex,
        libc::SYS_clone,
        libc::SYS_clone3,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_set_robust_list,
        libc::SYS_rseq,
        libc::SYS_sched_getaffinity,
        libc::SYS_sched_yield,
        libc::SYS_getrandom,
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_nanosleep,
        libc::SYS_gettid,
        libc::SYS_getpid,
        libc::SYS_tgkill,
        libc::SYS_membarrier,
        libc::SYS_prctl,
        libc::SYS_prlimit64,
    ];
    #[cfg(target_arch = "x86_64")]
    allowed.extend([libc::SYS_arch_prctl, libc::SYS_poll]);
    allowed.push(libc::SYS_ppoll);
    let rules: BTreeMap<i64, Vec<_>> = allowed.into_iter().map(|call| (call, vec![])).collect();
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Errno(libc::EPERM as u32),
        SeccompAction::Allow,
        std::env::consts::ARCH.try_into()?,
    )?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&program)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_enforced_survives_the_pipe() {
        for bits in 0..16 {
            assert_eq!(Enforced::from_bits(bits).bits(), bits);
        }
        assert_eq!(Enforced::from_bits(3).missing(), ["landlock", "seccomp"]);
    }
}
