//! The hostile steps, each with what is expected of it at every level.
//!
//! Every step is bounded in time and size, opens what belongs to the whole host without writing to
//! it, and speaks to loopback alone.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use super::scene::{SECRET, Scene, Seen};
use std::path::Path;
use std::time::{Duration, Instant};

/// What is expected at a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    Contained,
    Escapes,
    /// It may go either way, depending on the machine.
    Either,
    /// It would do harm there.
    NotRun,
}

pub struct Case {
    /// Up to 54 the known ways; behind them those of this product's own.
    pub number: u32,
    pub title: &'static str,
    /// What it is about, for the page.
    pub about: &'static str,
    pub line: &'static str,
    pub timeout_ms: u64,
    pub contained: fn(&mut Seen<'_>) -> bool,
    pub strict: Expected,
    pub bwrap: Expected,
    pub nothing: Expected,
}

const LIMIT_MS: u64 = 20_000;
use Expected::{Contained as C, Either as M, Escapes as E, NotRun as N};

/// Cases whose line prints the word when it gets through.
fn silent(seen: &mut Seen<'_>) -> bool {
    !seen.log.contains("GOT-THROUGH")
}

fn keeps_secret(seen: &mut Seen<'_>) -> bool {
    !seen.log.contains(SECRET)
}

fn number_after(log: &str, word: &str) -> u64 {
    let rest = log.split(word).nth(1).unwrap_or_default();
    rest.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn below<const LIMIT: u64>(seen: &mut Seen<'_>) -> bool {
    seen.log.contains("COUNT ") && number_after(&seen.log, "COUNT ") < LIMIT
}

fn victim_lives(seen: &mut Seen<'_>) -> bool {
    Path::new(&format!("/proc/{}/environ", seen.scene.victim.id())).exists()
        && std::fs::read_to_string(format!("/proc/{}/stat", seen.scene.victim.id()))
            .is_ok_and(|stat| !stat.contains(") Z "))
}

fn nothing_heard(seen: &mut Seen<'_>) -> bool {
    seen.scene.udp.recv(&mut [0; 16]).is_err()
}

fn nothing_planted(seen: &mut Seen<'_>) -> bool {
    let runs = seen.scene.rig.data.path().join("runs");
    let run = seen.scene.rig.ws().parent().unwrap().to_owned();
    let found = [Path::new("/tmp"), &run, &runs].map(|folder| seen.scene.planted(folder));
    !found.contains(&true)
}

fn nobody_outlives(seen: &mut Seen<'_>) -> bool {
    let until = Instant::now() + Duration::from_secs(2);
    loop {
        if seen.scene.marked_processes().is_empty() {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn quick(seen: &mut Seen<'_>) -> bool {
    seen.took < Duration::from_secs(8)
}

fn ended_in_time(seen: &mut Seen<'_>) -> bool {
    seen.timed_out && quick(seen)
}

fn capped(seen: &mut Seen<'_>) -> bool {
    seen.log_bytes <= meta_domain::limits::LOG_BYTES_MAX && seen.cut_bytes > 0
}

fn only_files_are_collected(seen: &mut Seen<'_>) -> bool {
    let ws = seen.scene.rig.ws();
    let opens = |name: &str| runner::nofollow::open_file(&ws, Path::new(name)).is_some();
    opens("kept.txt")
        && !["junit.xml", "test-link.xml", "folder/up.xml"].iter().any(|name| opens(name))
        && quick(seen)
}

fn is_unprivileged(seen: &mut Seen<'_>) -> bool {
    seen.log.contains("NoNewPrivs:\t1") && seen.log.contains("CapEff:\t0000000000000000")
}

const fn case(
    number: u32,
    (title, about): (&'static str, &'static str),
    line: &'static str,
    contained: fn(&mut Seen<'_>) -> bool,
    (strict, bwrap, nothing): (Expected, Expected, Expected),
) -> Case {
    let timeout_ms = match number {
        41 | 42 => 1_500,
        _ => LIMIT_MS,
    };
    Case { number, title, about, line, timeout_ms, contained, strict, bwrap, nothing }
}

/// All of them.
pub const CASES: &[Case] = &[
    case(
        0,
        ("control: a step runs and its workspace can be written", "itself"),
        "echo hello > own.txt && cat own.txt",
        |seen| seen.code == Some(0) && seen.log.contains("hello"),
        (C, C, C),
    ),
    case(
        1,
        ("read the password hashes", "files"),
        "cat /etc/shadow",
        |s| !s.log.contains("root:"),
        (C, C, C),
    ),
    case(
        2,
        ("read another tenant's file by its path", "files"),
        "cat {other}/secret.txt",
        keeps_secret,
        (C, C, E),
    ),
    case(
        3,
        ("the same through `..` from the workspace", "files"),
        "cat ../../../../../../../../../..{other}/secret.txt",
        keeps_secret,
        (C, C, E),
    ),
    case(
        4,
        ("the same through a link in the workspace", "files"),
        "ln -sfn {other} way && cat way/secret.txt",
        keeps_secret,
        (C, C, E),
    ),
    case(
        5,
        ("a hard link to another tenant's file", "files"),
        "ln {other}/secret.txt hard && cat hard",
        keeps_secret,
        (C, C, M),
    ),
    case(
        6,
        ("the runner's variables, in its own", "secrets"),
        "env; export -p",
        keeps_secret,
        (C, C, C),
    ),
    case(
        7,
        ("variables of other processes", "secrets"),
        "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'",
        keeps_secret,
        (C, C, E),
    ),
    case(
        8,
        ("the runner's memory", "processes"),
        "for f in maps mem; do head -c 1 /proc/{runner}/$f >/dev/null 2>&1 && grep -q 'runner\\|escape' \
         /proc/{runner}/comm && echo GOT-THROUGH; done; true",
        silent,
        (C, C, C),
    ),
    case(
        9,
        ("the host's processes", "processes"),
        "set -- /proc/[0-9]*; echo COUNT $#",
        below::<12>,
        (C, C, E),
    ),
    case(
        10,
        ("kill a process of the host", "processes"),
        "kill -9 {victim}; sleep 0.1",
        victim_lives,
        (C, C, E),
    ),
    case(
        11,
        ("kill everything that can be killed", "processes"),
        "kill -9 -1; true",
        victim_lives,
        (C, C, N),
    ),
    case(
        12,
        ("a port on the host's loopback", "network"),
        "(exec 3<>/dev/tcp/127.0.0.1/{tcp}) 2>/dev/null && echo GOT-THROUGH; true",
        silent,
        (C, C, E),
    ),
    case(
        13,
        ("a datagram to the host's loopback", "network"),
        "echo out > /dev/udp/127.0.0.1/{udp}; true",
        nothing_heard,
        (C, C, E),
    ),
    case(
        14,
        ("an abstract socket of the host", "network"),
        "python3 -c 'import socket; s = socket.socket(socket.AF_UNIX); s.connect(chr(0) + \"{mark}\"); \
         print(\"GOT-THROUGH\")'",
        silent,
        (C, C, E),
    ),
    case(
        15,
        ("a socket in a folder of the host, as a container engine has", "network"),
        "python3 -c 'import socket; s = socket.socket(socket.AF_UNIX); s.connect(\"{socket}\"); \
         print(\"GOT-THROUGH\")'",
        silent,
        (C, C, E),
    ),
    case(
        16,
        ("any way out, to a metadata service or the internet", "network"),
        "sed 1d /proc/net/route | grep . && echo GOT-THROUGH; true",
        silent,
        (C, C, M),
    ),
    case(
        17,
        ("listen where the host can be reached", "network"),
        "readlink /proc/self/ns/net",
        |seen| !seen.log.contains("net:") || host_network() != seen.log.trim(),
        (C, C, E),
    ),
    case(
        18,
        ("write to the system's programs", "files"),
        "touch /usr/bin/{mark} && echo GOT-THROUGH",
        silent,
        (C, C, C),
    ),
    case(
        19,
        ("write to the system's settings", "files"),
        ": >> /etc/passwd && echo GOT-THROUGH",
        silent,
        (C, C, C),
    ),
    case(
        20,
        ("plant a file in the host's /tmp", "files"),
        "echo x > /tmp/{mark}",
        nothing_planted,
        (C, C, E),
    ),
    case(
        21,
        ("a user namespace inside", "kernel"),
        "unshare --user --map-root-user true && echo GOT-THROUGH",
        silent,
        (C, C, M),
    ),
    case(
        22,
        ("mount something", "kernel"),
        "mkdir -p point; mount -t tmpfs none point && echo GOT-THROUGH",
        silent,
        (C, C, C),
    ),
    case(
        23,
        ("another root folder", "kernel"),
        "chroot / /bin/true && echo GOT-THROUGH",
        silent,
        (C, C, C),
    ),
    case(
        24,
        ("trace the first process", "processes"),
        "python3 -c 'import ctypes\nif ctypes.CDLL(None).ptrace(16, 1, 0, 0) == 0: print(\"GOT-THROUGH\")'",
        silent,
        (C, C, C),
    ),
    case(
        25,
        ("make a disk's device", "kernel"),
        "mknod disk b 8 0 && echo GOT-THROUGH",
        silent,
        (C, C, C),
    ),
    case(
        26,
        ("disks, memory, virtual machines in /dev", "kernel"),
        "for d in vda sda nvme0n1 mem kmem kmsg kvm port loop0 fuse; do \
         head -c 1 /dev/$d >/dev/null 2>&1 && echo GOT-THROUGH $d; done; true",
        silent,
        (C, C, M),
    ),
    case(
        27,
        ("keep or gain privileges", "kernel"),
        "cat /proc/self/status",
        is_unprivileged,
        (C, C, E),
    ),
    case(
        28,
        ("open the kernel's knobs for writing", "kernel"),
        "for f in sys/vm/drop_caches sys/kernel/core_pattern sys/kernel/panic sys/kernel/modprobe \
         sysrq-trigger; do ( : >> /proc/$f ) 2>/dev/null && echo GOT-THROUGH $f; done; \
         ( : >> /sys/kernel/uevent_helper ) 2>/dev/null && echo GOT-THROUGH; true",
        silent,
        (C, C, N),
    ),
    case(
        29,
        ("the control groups of the host", "kernel"),
        "ls /sys/fs/cgroup 2>/dev/null | grep -q . && echo GOT-THROUGH; true",
        silent,
        (C, C, M),
    ),
    case(
        30,
        ("keys that the kernel keeps", "kernel"),
        "python3 -c 'import ctypes, platform\nn = 248 if platform.machine() == \"x86_64\" else 217\n\
         if ctypes.CDLL(None).syscall(n, b\"user\", b\"{mark}\", b\"x\", 1, -2) > 0: print(\"GOT-THROUGH\")'",
        silent,
        (C, C, M),
    ),
    case(
        31,
        ("parts of the kernel with a record of escapes", "kernel"),
        "python3 -c 'import ctypes, platform\nc = ctypes.CDLL(None)\nb = ctypes.create_string_buffer(200)\n\
         x = platform.machine() == \"x86_64\"\n\
         for n, a in ((321 if x else 280, (0, b, 48)), (298 if x else 241, (b, 0, -1, -1, 0)), \
         (323 if x else 282, (1,)), (425, (4, b))):\n\
         \x20 if c.syscall(n, *a) >= 0: print(\"GOT-THROUGH\", n)'",
        silent,
        (C, C, M),
    ),
    case(
        32,
        ("type into the runner's terminal", "kernel"),
        "python3 -c 'import fcntl; f = open(\"/dev/tty\"); fcntl.ioctl(f, 0x5412, b\"x\"); \
         print(\"GOT-THROUGH\")'",
        silent,
        (C, C, C),
    ),
    case(
        33,
        ("many processes (at most 300)", "exhaustion"),
        "python3 -c 'import os, time\nn = 0\ntry:\n  for i in range(300):\n    if os.fork() == 0: \
         time.sleep(1); os._exit(0)\n    n += 1\nexcept OSError: pass\nprint(\"COUNT\", n)'",
        below::<100>,
        (C, E, E),
    ),
    case(
        34,
        ("much memory (3 GiB are asked for, none is touched)", "exhaustion"),
        "python3 -c 'b = bytearray(3 << 30); print(\"GOT-THROUGH\")'",
        silent,
        (C, E, M),
    ),
    case(
        35,
        ("one large file in the workspace (96 MiB)", "exhaustion"),
        "head -c 100663296 /dev/zero > big; echo COUNT $(stat -c %s big); rm -f big",
        below::<100_663_296>,
        (C, E, E),
    ),
    case(
        36,
        ("fill the workspace by many files (20 of 8 MiB)", "exhaustion"),
        "for i in $(seq 20); do head -c 8388608 /dev/zero > f$i || break; done; \
         echo COUNT $(du -sm . | cut -f1); rm -f f*",
        below::<80>,
        (C, E, E),
    ),
    case(
        37,
        ("fill /tmp (48 MiB)", "exhaustion"),
        "for i in 1 2 3; do head -c 16777216 /dev/zero > /tmp/{mark}$i; done; \
         echo COUNT $(cat /tmp/{mark}* | wc -c); rm -f /tmp/{mark}*",
        below::<50_331_648>,
        (C, E, E),
    ),
    case(
        38,
        ("raise its own limits", "exhaustion"),
        "ulimit -Hn 2000000 && echo GOT-THROUGH; ulimit -Hc unlimited && echo GOT-THROUGH; true",
        silent,
        (C, C, M),
    ),
    case(
        39,
        ("flood the log (60 MB)", "exhaustion"),
        "yes flood | head -c 60000000",
        capped,
        (C, C, C),
    ),
    case(
        40,
        ("one line of 20 MB", "exhaustion"),
        "head -c 20000000 /dev/zero | tr '\\0' b",
        capped,
        (C, C, C),
    ),
    case(
        41,
        ("ignore the signal to end", "time"),
        "trap '' TERM INT HUP; while :; do sleep 1; done",
        ended_in_time,
        (C, C, C),
    ),
    case(42, ("never end", "time"), "while :; do :; done", ended_in_time, (C, C, C)),
    case(
        43,
        ("a process that outlives the step", "time"),
        "(setsid bash -c 'exec -a {mark} sleep 47' >/dev/null 2>&1 &); sleep 0.2",
        nobody_outlives,
        (C, C, E),
    ),
    case(
        44,
        ("a process that holds the output open", "time"),
        "(sleep 30 &) ; echo done",
        |seen| quick(seen) && seen.log.contains("done"),
        (C, C, C),
    ),
    case(
        45,
        ("bytes that are no text and commands to a terminal in the log", "log"),
        "printf '\\377\\376\\0\\033]0;title\\007\\033[2J\\rPASSED\\n'",
        |seen| seen.code == Some(0) && seen.log_bytes == 25,
        (C, C, C),
    ),
    case(
        46,
        ("unpack an archive with paths that lead out", "files"),
        "python3 -c 'import tarfile, io\nt = tarfile.open(\"e.tar\", \"w\")\n\
         for n in (\"../{mark}\", \"/tmp/{mark}\"):\n  i = tarfile.TarInfo(n); i.size = 1; \
         t.addfile(i, io.BytesIO(b\"x\"))\nt.close()'; tar -P -xf e.tar; true",
        nothing_planted,
        (C, C, E),
    ),
    case(
        47,
        ("a patch with a path that leads out", "files"),
        "printf -- '--- a/x\\n+++ ../../{mark}\\n@@ -0,0 +1 @@\\n+x\\n' > p; git apply --unsafe-paths p; \
         patch -p0 < p; true",
        nothing_planted,
        (C, C, M),
    ),
    case(
        48,
        ("a program that changes its user", "kernel"),
        "cp /usr/bin/id who && chmod 6755 who && ./who -u",
        |seen| seen.log.lines().last() != Some("0"),
        (C, C, C),
    ),
    case(
        49,
        ("set the clock or the host's name", "kernel"),
        "date -s '2001-01-01' >/dev/null 2>&1 && echo GOT-THROUGH; hostname {mark} 2>/dev/null && echo \
         GOT-THROUGH; true",
        silent,
        (C, C, N),
    ),
    case(
        50,
        ("sockets that speak to hardware, the kernel or a hypervisor", "network"),
        "python3 -c 'import socket\nfor f, t, p in ((17, 3, 3), (16, 3, 9), (40, 1, 0)):\n  try: \
         socket.socket(f, t, p); print(\"GOT-THROUGH\", f)\n  except OSError: pass'",
        silent,
        (C, C, M),
    ),
    case(
        51,
        ("out through the first process's root", "files"),
        "cat /proc/1/root{other}/secret.txt /proc/self/root{other}/secret.txt \
         /proc/self/cwd/../../../../../../..{other}/secret.txt",
        keeps_secret,
        (C, C, E),
    ),
    case(
        52,
        ("shared memory of the host", "processes"),
        "ipcs -m -i {shm} 2>/dev/null | grep -qi 'bytes=' && echo GOT-THROUGH; true",
        silent,
        (C, C, M),
    ),
    case(
        53,
        ("variables of the runner that change how programs start", "secrets"),
        "env | grep -E '^(LD_|BASH_ENV|ENV=|MB_|PYTHONSTARTUP|PERL5OPT)' && echo GOT-THROUGH; true",
        silent,
        (C, C, C),
    ),
    case(
        54,
        ("a pipe, a link and a hole where a report is read", "files"),
        "mkfifo junit.xml; ln -sf /etc/passwd test-link.xml; ln -sfn {other} folder; \
         truncate -s 1M report.xml; echo ok > kept.txt",
        only_files_are_collected,
        (C, C, C),
    ),
    case(
        55,
        ("fill the home folder, which outlives the step (10 of 8 MiB)", "exhaustion"),
        "for i in $(seq 10); do head -c 8388608 /dev/zero > ~/f$i || break; done; \
         echo COUNT $(du -sm ~ | cut -f1); rm -f ~/f*",
        below::<40>,
        (C, E, M),
    ),
    case(
        56,
        ("use up the workspace's number of files (8000)", "exhaustion"),
        "mkdir -p many; for i in $(seq 8000); do : > many/$i || break; done 2>/dev/null; \
         echo COUNT $(ls many | wc -l); rm -rf many",
        below::<8_000>,
        (C, E, E),
    ),
    case(
        57,
        ("fill shared memory (48 MiB)", "exhaustion"),
        "for i in 1 2 3; do head -c 16777216 /dev/zero > /dev/shm/{mark}$i; done; \
         echo COUNT $(cat /dev/shm/{mark}* | wc -c); rm -f /dev/shm/{mark}*",
        below::<50_331_648>,
        (C, E, M),
    ),
    case(
        58,
        ("settings, names and keys of this machine", "secrets"),
        "ls -d /etc/hostname /etc/machine-id /etc/ssh /etc/fstab /etc/sudoers /etc/krb5.keytab \
         /var/log /opt /srv /mnt 2>/dev/null | grep . && echo GOT-THROUGH; true",
        silent,
        (C, E, E),
    ),
    case(
        59,
        ("the runner's data folder", "files"),
        "ls {data} {data}/runs {data}/volumes {data}/owners 2>/dev/null | grep . && echo GOT-THROUGH; true",
        silent,
        (C, C, M),
    ),
];

fn host_network() -> String {
    let target = std::fs::read_link("/proc/self/ns/net").unwrap_or_default();
    target.to_string_lossy().into_owned()
}

/// Runs a case; answers whether it was contained, and what it printed.
pub async fn attempt(scene: &Scene, case: &Case) -> (bool, String) {
    let data = scene.rig.data.path().display().to_string();
    let line = case.line.replace("{data}", &data);
    let mut seen = scene.run(&line, case.timeout_ms).await;
    let contained = (case.contained)(&mut seen);
    let said: String = seen.log.chars().take(300).collect();
    (contained, format!("{said:?} (exit {:?}, {:?})", seen.code, seen.took))
}
