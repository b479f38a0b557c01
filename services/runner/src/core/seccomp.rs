//! The system call filter of every sandbox, as classic BPF.
//!
//! A deny-list: what a build needs is too wide for an allow-list, and the namespaces and the missing
//! capabilities are the real wall. The filter closes what they leave open: kernel surfaces with a
//! record of escapes, new user namespaces, typing into a terminal, exotic socket families.
//! `ptrace` stays allowed (sanitizers and debuggers need it; the process namespace confines it), but
//! not on the sandbox's own first process.

use nix::libc;

/// Calls that fail with EPERM.
const DENIED: &[i64] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_name_to_handle_at,
    libc::SYS_nfsservctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
];

/// Socket families that fail with EPERM: PACKET, ALG, VSOCK, XDP.
const DENIED_FAMILIES: &[u32] = &[17, 38, 40, 44];
const NETLINK: u32 = 16;
/// Terminal requests that fail with EPERM: TIOCSTI, TIOCLINUX.
const DENIED_IOCTLS: &[u32] = &[0x5412, 0x541C];
/// The sandbox's own, which starts the others and waits for them.
const FIRST_PROCESS: u32 = 1;
const CLONE_NEWUSER: u32 = 0x1000_0000;
/// Numbers of the x32 calling convention start here; it is refused as a whole.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xC000_00B7;

const LOAD: u16 = 0x20;
const JUMP_EQ: u16 = 0x15;
#[cfg(target_arch = "x86_64")]
const JUMP_GE: u16 = 0x35;
const JUMP_SET: u16 = 0x45;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7FFF_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCH: u32 = 4;

const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

/// The program for `bwrap --seccomp`.
pub fn program() -> Vec<u8> {
    let mut p = Assembler::default();
    p.load(OFFSET_ARCH);
    p.unless(JUMP_EQ, ARCH, EPERM);
    p.load(OFFSET_NUMBER);
    #[cfg(target_arch = "x86_64")]
    p.when(JUMP_GE, X32, ENOSYS);
    // A filter cannot look through clone3's pointer; without it libc falls back to clone.
    p.when(JUMP_EQ, number(libc::SYS_clone3), ENOSYS);
    for call in DENIED {
        p.when(JUMP_EQ, number(*call), EPERM);
    }
    p.arguments_of(libc::SYS_clone, |p| {
        p.load(argument(0));
        p.when(JUMP_SET, CLONE_NEWUSER, EPERM);
    });
    p.arguments_of(libc::SYS_ioctl, |p| {
        p.load(argument(1));
        for request in DENIED_IOCTLS {
            p.when(JUMP_EQ, *request, EPERM);
        }
    });
    p.arguments_of(libc::SYS_ptrace, |p| {
        p.load(argument(1));
        p.when(JUMP_EQ, FIRST_PROCESS, EPERM);
    });
    p.arguments_of(libc::SYS_socket, |p| {
        p.load(argument(0));
        for family in DENIED_FAMILIES {
            p.when(JUMP_EQ, *family, EPERM);
        }
        // Of netlink only routing (protocol 0) stays: runtimes list interfaces with it.
        p.instruction(JUMP_EQ, 0, 3, NETLINK);
        p.load(argument(2));
        p.when_not_zero(EPERM);
    });
    p.end(ALLOW);
    p.bytes
}

fn number(call: i64) -> u32 {
    u32::try_from(call).expect("system call numbers are small and positive")
}

#[derive(Default)]
struct Assembler {
    bytes: Vec<u8>,
}

impl Assembler {
    fn instruction(&mut self, code: u16, if_true: u8, if_false: u8, value: u32) {
        self.bytes.extend(code.to_ne_bytes());
        self.bytes.extend([if_true, if_false]);
        self.bytes.extend(value.to_ne_bytes());
    }

    fn load(&mut self, offset: u32) {
        self.instruction(LOAD, 0, 0, offset);
    }

    fn end(&mut self, verdict: u32) {
        self.instruction(RETURN, 0, 0, verdict);
    }

    fn when(&mut self, test: u16, value: u32, verdict: u32) {
        self.instruction(test, 0, 1, value);
        self.end(verdict);
    }

    fn unless(&mut self, test: u16, value: u32, verdict: u32) {
        self.instruction(test, 1, 0, value);
        self.end(verdict);
    }

    fn when_not_zero(&mut self, verdict: u32) {
        self.unless(JUMP_EQ, 0, verdict);
    }

    /// Tests on the arguments of one call; every other call skips them.
    fn arguments_of(&mut self, call: i64, tests: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        tests(&mut inner);
        inner.end(ALLOW);
        let skip = u8::try_from(inner.bytes.len() / 8).expect("a few tests a call");
        self.instruction(JUMP_EQ, 0, skip, number(call));
        self.bytes.extend(inner.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would.
    fn verdict(arch: u32, call: u32, arguments: [u32; 3]) -> u32 {
        let program = program();
        let (mut at, mut value) = (0usize, 0u32);
        loop {
            let i = &program[at * 8..at * 8 + 8];
            let code = u16::from_ne_bytes([i[0], i[1]]);
            let k = u32::from_ne_bytes([i[4], i[5], i[6], i[7]]);
            let jump = |yes: bool| at + 1 + usize::from(if yes { i[2] } else { i[3] });
            at = match code {
                LOAD => {
                    value = match k {
                        0 => call,
                        4 => arch,
                        k => arguments[(k as usize - 16) / 8],
                    };
                    at + 1
                }
                JUMP_EQ => jump(value == k),
                #[cfg(target_arch = "x86_64")]
                JUMP_GE => jump(value >= k),
                JUMP_SET => jump(value & k != 0),
                RETURN => return k,
                other => panic!("unknown instruction {other:#x}"),
            };
        }
    }

    fn here(call: i64, arguments: [u32; 3]) -> u32 {
        verdict(ARCH, number(call), arguments)
    }

    #[test]
    fn ordinary_calls_pass() {
        for call in [libc::SYS_read, libc::SYS_execve, libc::SYS_openat, libc::SYS_ptrace] {
            assert_eq!(here(call, [0; 3]), ALLOW);
        }
        assert_eq!(here(libc::SYS_clone, [0x0011, 0, 0]), ALLOW);
        assert_eq!(here(libc::SYS_ioctl, [0, 0x5401, 0]), ALLOW);
        assert_eq!(here(libc::SYS_socket, [2, 1, 0]), ALLOW);
        assert_eq!(here(libc::SYS_socket, [NETLINK, 3, 0]), ALLOW);
    }

    #[test]
    fn every_denied_call_fails() {
        for call in DENIED {
            assert_eq!(here(*call, [0; 3]), EPERM, "{call}");
        }
        assert_eq!(here(libc::SYS_clone3, [0; 3]), ENOSYS);
        assert_eq!(here(libc::SYS_clone, [CLONE_NEWUSER | 0x11, 0, 0]), EPERM);
        assert_eq!(here(libc::SYS_ioctl, [0, 0x5412, 0]), EPERM);
        assert_eq!(here(libc::SYS_ptrace, [16, 1, 0]), EPERM);
        assert_eq!(here(libc::SYS_ptrace, [16, 2, 0]), ALLOW);
        assert_eq!(here(libc::SYS_socket, [17, 3, 0]), EPERM);
        assert_eq!(here(libc::SYS_socket, [NETLINK, 3, 9]), EPERM);
    }

    #[test]
    fn another_architecture_fails() {
        assert_eq!(verdict(0x4000_0003, 1, [0; 3]), EPERM);
    }
}
