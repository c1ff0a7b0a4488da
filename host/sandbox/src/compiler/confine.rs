//! What the child takes from itself before it reads a component: resources, and every system call that is not needed to
//! compute. None of it can be taken back.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::terms::Terms;

/// Address space that an allocator sets aside for a thread without using it.
#[cfg(target_os = "linux")]
const RESERVED_BYTES_PER_THREAD: u64 = 64 << 20;
/// The three pipes, and what the runtime opens for a moment.
const FILES_MAX: u64 = 16;

/// # Errors
/// When a limit cannot be set, or the parent is gone.
pub(super) fn confine(terms: &Terms) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    linux::end_with(terms.parent_id)?;
    let limit = |resource, soft: u64, hard: u64| {
        // Whoever started odibi may have set less already, which only root could raise.
        let hard = getrlimit(resource)
            .maximum
            .map_or(hard, |set| set.min(hard));
        let rlimit = Rlimit {
            current: Some(soft.min(hard)),
            maximum: Some(hard),
        };
        setrlimit(resource, rlimit).map_err(io::Error::from)
    };
    // At the soft limit the signal names the reason; at the hard one the process is simply killed.
    limit(
        Resource::Cpu,
        terms.cpu_s_max,
        terms.cpu_s_max.saturating_add(1),
    )?;
    // Nothing is written but pipes, which this does not count; and no image of the memory is left behind.
    for resource in [Resource::Fsize, Resource::Core] {
        limit(resource, 0, 0)?;
    }
    limit(Resource::Nofile, FILES_MAX, FILES_MAX)?;
    // Other systems do not count what a process has, or not in this way.
    #[cfg(target_os = "linux")]
    {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
        let bytes = linux::memory_bytes()?
            .saturating_add(threads.saturating_mul(RESERVED_BYTES_PER_THREAD))
            .saturating_add(terms.memory_bytes_max);
        limit(Resource::As, bytes, bytes)?;
        linux::compute_only()?;
    }
    Ok(())
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;
    use std::io;

    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    use seccompiler::{
        SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, TargetArch,
    };

    /// Memory, threads, signals, clocks, and files that are open already. Everything else is answered as if the kernel
    /// did not have it, which libraries know how to live with.
    #[rustfmt::skip]
    const CALLS: &[libc::c_long] = &[
        libc::SYS_read, libc::SYS_readv, libc::SYS_write, libc::SYS_writev, libc::SYS_close, libc::SYS_fstat,
        libc::SYS_lseek,
        libc::SYS_mmap, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_mprotect, libc::SYS_madvise, libc::SYS_brk,
        libc::SYS_futex, libc::SYS_set_robust_list, libc::SYS_rseq, libc::SYS_membarrier, libc::SYS_sched_yield,
        libc::SYS_sched_getaffinity, libc::SYS_gettid, libc::SYS_getpid, libc::SYS_exit, libc::SYS_exit_group,
        libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_sigaltstack,
        libc::SYS_restart_syscall,
        libc::SYS_clock_gettime, libc::SYS_clock_nanosleep, libc::SYS_nanosleep, libc::SYS_getrandom,
        libc::SYS_getrusage,
    ];

    /// A child whose parent dies is of no use to anybody.
    pub(super) fn end_with(parent_id: u64) -> io::Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before that.
        let parent = getppid().map_or(0, |id| id.as_raw_nonzero().get().unsigned_abs());
        if u64::from(parent) == parent_id {
            Ok(())
        } else {
            Err(io::Error::other("the parent is gone"))
        }
    }

    /// Address space that the program takes already: code and memory in use. What its allocator has merely set aside is
    /// not counted, because the component will be compiled in it.
    pub(super) fn memory_bytes() -> io::Result<u64> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let bytes = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = value.and_then(|v| v.trim().trim_end_matches(" kB").parse::<u64>().ok());
            kib.map(|kib| kib << 10)
                .ok_or_else(|| io::Error::other(format!("/proc/self/status has no `{name}`")))
        };
        let set_aside = bytes("VmData:")?.saturating_sub(bytes("RssAnon:")?);
        Ok(bytes("VmSize:")?.saturating_sub(set_aside))
    }

    /// No new privileges, no files, no network, no other processes.
    pub(super) fn compute_only() -> io::Result<()> {
        let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else {
            // A processor for which there is no filter: the limits hold nevertheless.
            return Ok(());
        };
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
            CALLS.iter().map(|call| (*call, Vec::new())).collect();
        let thread_flags = (libc::CLONE_VM | libc::CLONE_THREAD).unsigned_abs().into();
        rules.insert(
            libc::SYS_clone,
            vec![when(0, SeccompCmpOp::MaskedEq(thread_flags), thread_flags)?],
        );
        // How a process ends itself when it aborts.
        let own = std::process::id().into();
        rules.insert(libc::SYS_tgkill, vec![when(0, SeccompCmpOp::Eq, own)?]);
        let unknown = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
        let filter = SeccompFilter::new(rules, unknown, SeccompAction::Allow, arch)
            .map_err(io::Error::other)?;
        let program: seccompiler::BpfProgram = filter.try_into().map_err(io::Error::other)?;
        match seccompiler::apply_filter_all_threads(&program) {
            // A kernel without filters: likewise.
            Err(seccompiler::Error::Prctl(e) | seccompiler::Error::Seccomp(e))
                if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) =>
            {
                Ok(())
            }
            other => other.map_err(io::Error::other),
        }
    }

    fn when(argument: u8, operator: SeccompCmpOp, value: u64) -> io::Result<SeccompRule> {
        SeccompCondition::new(argument, SeccompCmpArgLen::Qword, operator, value)
            .and_then(|condition| SeccompRule::new(vec![condition]))
            .map_err(io::Error::other)
    }
}
