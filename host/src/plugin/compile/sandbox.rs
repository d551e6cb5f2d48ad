//! What the compile child gives up before it reads a byte of the file: descriptors, memory and time past
//! its limits, files, network, and nearly all system calls. The kernel may lack landlock or seccomp: what
//! could not be had is told to the host, which tells people.

use std::collections::BTreeMap;
use std::io;

use landlock::{ABI, Access as _, AccessFs, AccessNet, Ruleset, RulesetAttr as _, RulesetStatus};
use rustix::process::{Resource, Rlimit, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use super::gaps::{self, Gap, LANDLOCK, LIMITS, NO_NEW_PRIVS, PARENT_DEATH, SECCOMP};

/// What this kernel lacks, asked without giving anything up.
pub fn support() -> Vec<Gap> {
    let filters = rustix::thread::secure_computing_mode().map_err(io::Error::from);
    let landlock = gaps::of_landlock(landlock_abi());
    let seccomp = filters.err().map(|e| Gap::new(SECCOMP, e.to_string()));
    landlock.into_iter().chain(seccomp).collect()
}

/// The version of landlock that this kernel has.
fn landlock_abi() -> io::Result<i32> {
    /// `LANDLOCK_CREATE_RULESET_VERSION`: asks, makes nothing.
    const VERSION: libc::c_uint = 1;
    let nothing = std::ptr::null::<libc::c_void>();
    // SAFETY: with this flag the call takes a null pointer and the size zero, and only answers a number.
    let answer =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, VERSION) };
    match i32::try_from(answer) {
        Ok(abi) if abi >= 0 => Ok(abi),
        _ => Err(io::Error::last_os_error()),
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

/// Gives everything up, the strictest last. What could not be had, and why; the rest holds all the same.
pub fn enter(memory_bytes: u64, cpu_s: u64) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let mut need = |layer, done: Result<(), String>| {
        gaps.extend(done.err().map(|why| Gap::new(layer, why)));
    };
    let words = |done: rustix::io::Result<()>| done.map_err(|e| io::Error::from(e).to_string());
    let signal = Some(rustix::process::Signal::KILL);
    let dies = rustix::process::set_parent_process_death_signal(signal);
    need(PARENT_DEATH, words(dies));
    for (name, resource, soft, hard) in [
        ("RLIMIT_CORE", Resource::Core, 0, 0),
        ("RLIMIT_FSIZE", Resource::Fsize, 0, 0),
        ("RLIMIT_NOFILE", Resource::Nofile, 64, 64),
        ("RLIMIT_AS", Resource::As, memory_bytes, memory_bytes),
        // The soft limit's signal names the cause; the hard one is for who would ignore it.
        ("RLIMIT_CPU", Resource::Cpu, cpu_s, cpu_s + 1),
    ] {
        let limit = Rlimit {
            current: Some(soft),
            maximum: Some(hard),
        };
        let done = words(setrlimit(resource, limit));
        need(LIMITS, done.map_err(|why| format!("{name}: {why}")));
    }
    heed(libc::SIGXCPU);
    need(NO_NEW_PRIVS, words(rustix::thread::set_no_new_privs(true)));
    // How much there is: then what it was asked for.
    let abi = landlock_abi();
    let is_there = abi.is_ok();
    let lacking = gaps::of_landlock(abi);
    let restricted = restrict_files().map_err(|e| e.to_string());
    if is_there {
        need(LANDLOCK, restricted);
    }
    need(SECCOMP, filter_calls().map_err(|e| e.to_string()));
    gaps.extend(lacking);
    gaps
}

/// Lets a signal end this process, though who started the host may have told all to ignore it.
fn heed(signal: libc::c_int) {
    // SAFETY: the default action is no handler: nothing of ours runs in one.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// No file, no folder, no TCP port: an empty set of rules, as far as the kernel knows them.
fn restrict_files() -> Result<(), Box<dyn std::error::Error>> {
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V5))?
        .handle_access(AccessNet::from_all(ABI::V5))?
        .create()?
        .restrict_self()?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err("the kernel took no rule".into());
    }
    Ok(())
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
    ];
    #[cfg(target_arch = "x86_64")]
    allowed.extend([libc::SYS_arch_prctl, libc::SYS_poll]);
    allowed.push(libc::SYS_ppoll);
    let mut rules: BTreeMap<i64, Vec<_>> = allowed.into_iter().map(|call| (call, vec![])).collect();
    // A thread, but no process: that would outlive the child, and nobody waits for it.
    let thread = libc::CLONE_THREAD as u64;
    let has_flag = SeccompCmpOp::MaskedEq(thread);
    let a_thread = SeccompCondition::new(0, SeccompCmpArgLen::Qword, has_flag, thread)?;
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![a_thread])?]);
    // Limits of this process are told. To change them, or those of others, is what root might do.
    let own = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, 0)?;
    let no_new = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?;
    let asked = SeccompRule::new(vec![own, no_new])?;
    rules.insert(libc::SYS_prlimit64, vec![asked]);
    // `clone3` has its flags in memory, where no filter looks. Where it does not exist, libraries use `clone`.
    rules.insert(libc::SYS_clone3, vec![]);
    let clone3 = BTreeMap::from([(libc::SYS_clone3, vec![])]);
    let not_there = SeccompAction::Errno(libc::ENOSYS as u32);
    apply(clone3, SeccompAction::Allow, not_there)?;
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    apply(rules, refused, SeccompAction::Allow)
}

/// One more filter: all calls that some rule names get `matched`, others `other`. The strictest of all filters counts.
fn apply(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    other: SeccompAction,
    matched: SeccompAction,
) -> Result<(), Box<dyn std::error::Error>> {
    let filter = SeccompFilter::new(rules, other, matched, std::env::consts::ARCH.try_into()?)?;
    let program: BpfProgram = filter.try_into()?;
    Ok(seccompiler::apply_filter(&program)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    use super::*;

    /// By this the program of the tests knows that it is to look around inside.
    const INSIDE: &str = "WASMILL_TEST_INSIDE_THE_SANDBOX";

    /// What a compiler that is not ours any more would try. Each is told by a line: what came of it.
    fn look_around() {
        close_descriptors();
        let open = std::fs::read_dir("/proc/self/fd").expect("not locked in yet");
        let inherited = open.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<i32>().ok());
        // The listing itself has one.
        println!("descriptors {}", inherited.filter(|fd| *fd > 2).count() - 1);
        let memory = 1 << 30;
        let gaps = enter(memory, 1);
        println!("gaps {gaps:?}");
        let tell = |what: &str, answer: i64| {
            let why = std::io::Error::last_os_error().raw_os_error();
            println!("{what} {:?}", if answer < 0 { why } else { None });
        };
        let path = c"/etc/passwd".as_ptr();
        // SAFETY: calls with a string that lives as long as the program, null pointers where a call takes them, and
        // numbers; none changes memory of ours. A process made by `fork`, should there be one, ends at once.
        unsafe {
            tell("open", i64::from(libc::open(path, libc::O_RDONLY)));
            tell(
                "socket",
                i64::from(libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0)),
            );
            tell(
                "unix",
                i64::from(libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)),
            );
            let child = libc::fork();
            if child == 0 {
                libc::_exit(0);
            }
            tell("fork", i64::from(child));
            let no_words = [std::ptr::null()];
            tell(
                "exec",
                i64::from(libc::execve(path, no_words.as_ptr(), no_words.as_ptr())),
            );
            tell("kill", i64::from(libc::kill(libc::getppid(), 0)));
            let more = libc::rlimit {
                rlim_cur: 4096,
                rlim_max: 4096,
            };
            tell(
                "limits",
                i64::from(libc::setrlimit(libc::RLIMIT_NOFILE, &more)),
            );
            let (read_write, mine) = (
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            );
            let much = libc::mmap(
                std::ptr::null_mut(),
                memory as usize,
                read_write,
                mine,
                -1,
                0,
            );
            tell("memory", if much == libc::MAP_FAILED { -1 } else { 0 });
        }
        let thread = std::thread::spawn(|| 7)
            .join()
            .expect("threads are allowed");
        println!("thread {thread}");
        // Until its time is over.
        loop {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn from_inside_nothing_can_be_reached() {
        if std::env::var_os(INSIDE).is_some() {
            look_around();
        }
        // A descriptor that a library in the host might leave open.
        let null = std::fs::File::open("/dev/null").expect("there");
        let left = rustix::io::dup(&null).expect("it works");
        let name = "plugin::compile::sandbox::tests::from_inside_nothing_can_be_reached";
        let arguments = ["--exact", name, "--nocapture", "--test-threads=1"];
        let mut inside = Command::new(std::env::current_exe().expect("this program"));
        inside.args(arguments).env(INSIDE, "1");
        let out = inside.output().expect("it starts");
        drop(left);
        let words = String::from_utf8_lossy(&out.stdout);
        let has = |line: &str| assert!(words.lines().any(|l| l.ends_with(line)), "{line}: {words}");
        has("descriptors 0");
        // Where the system lacks something the rest is held all the same.
        let lacks = support();
        assert!(
            lacks.iter().all(|gap| gap.layer != SECCOMP),
            "this system cannot filter calls: the test cannot say anything"
        );
        has(&format!("gaps {lacks:?}"));
        for what in ["open", "socket", "unix", "fork", "exec", "kill", "limits"] {
            has(&format!("{what} Some({})", libc::EPERM));
        }
        has(&format!("memory Some({})", libc::ENOMEM));
        has("thread 7");
        assert_eq!(out.status.signal(), Some(libc::SIGXCPU), "{words}");
    }
}
